"""What figures are made of, and what is said where that is missing."""

import shlex

import pytest

from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from tests.plot.conftest import Build, drawings


def test_a_kind_of_surface_that_is_not_there_names_its_scan(build: Build) -> None:
    run = build.run(main=build.surface(lambda x, _: 1 + x**2, y=0))
    with pytest.raises(RequestError) as error:
        draw([run], figures=["contour", "3d"])
    command = f"lossviz surface {run.folder} --set surface.name=plane --set 'surface.x="
    assert f"contour, 3d: no plane; made by: {command}" in str(error.value)


def test_without_results_the_commands_are_named(build: Build) -> None:
    run = build.run()
    with pytest.raises(RequestError) as error:
        draw([run])
    for command in (f"train {run.config_file}", f"probe {run.folder}", f"surface {run.folder}"):
        assert f"lossviz {command}" in str(error.value)
    # The figure `surface` stands for its kinds.
    assert "contour" not in str(error.value)


def test_commands_can_be_pasted_where_a_path_has_a_space(build: Build) -> None:
    spaced = Build(build.out / "my runs")
    runs = [spaced.run(), spaced.run(experiment="other")]
    with pytest.raises(RequestError) as error:
        draw(runs, figures=["contour"])
    first, other = (shlex.quote(str(run.folder.parent)) for run in runs)
    assert f"made by: lossviz surface {first} (and the same for {other})" in str(error.value)


def test_results_without_a_number_are_none(build: Build) -> None:
    run = build.run(
        train=build.train(recorded=0), probe=build.probe(steps=[]), main=build.surface(lambda x, _: x, done=0)
    )
    with pytest.raises(RequestError, match="lossviz surface"):
        draw([run])


def test_a_figure_that_was_asked_for_must_be_there(build: Build) -> None:
    run = build.run(train=build.train())
    with pytest.raises(RequestError) as error:
        draw([run], figures=["training", "landscape"])
    assert "lossviz probe" in str(error.value)
    assert "lossviz train" not in str(error.value)
    assert [path.stem for path in draw([run])] == ["training"]


def test_runs_without_a_result_are_left_out(build: Build) -> None:
    runs = [build.run("standard", train=build.train()), build.run("batchnorm")]
    (path,) = draw(runs, figures=["training"], formats=["svg"])
    text = path.read_text()
    assert ">standard</text>" in text
    assert ">batchnorm</text>" not in text


def test_only_runs_with_a_measure_are_in_its_figure(build: Build) -> None:
    runs = [build.run("standard", probe=build.probe()), build.run("batchnorm", probe=build.layered())]
    shown = {}
    for path in draw(runs, formats=["svg"]):
        text = path.read_text()
        shown[path.stem] = [name for name in ("standard", "batchnorm") if f">{name}</text>" in text]
    later = ("activations", "moments", "shift", "sharpness")
    assert shown == {"landscape": ["standard"], **{name: ["batchnorm"] for name in later}}


def test_a_missing_measure_is_named_with_the_command_that_adds_it(build: Build) -> None:
    run = build.run(probe=build.probe())
    with pytest.raises(RequestError) as error:
        draw([run], figures=["moments", "activations", "sharpness"])
    command = f"lossviz probe {run.config_file} --out {build.out} --set 'probe.measures=[landscape, "
    lack = "moments, activations: no activations in probe.nc, or nothing in it yet; made by: "
    assert f"{lack}{command}activations]' --set 'probe.layers=[2, 9]' --fresh" in str(error.value)
    assert f"{command}sharpness]' --fresh" in str(error.value)


def test_without_a_probe_nothing_needs_to_be_discarded(build: Build) -> None:
    run = build.run(train=build.train())
    with pytest.raises(RequestError) as error:
        draw([run], figures=["shift"])
    assert "--fresh" not in str(error.value)
    assert f"lossviz probe {run.folder} --set 'probe.measures=[landscape, shift]'" in str(error.value)


def test_new_figures_are_drawn_where_their_variables_are(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x**2 + y**2)
    curved = plane.assign(hessian_max=plane.loss, hessian_min=-plane.loss)
    path = build.with_checkpoints(plane, ["step 0", "step 5"], [0.5, 0], [0.5, 0]).assign_attrs(trajectory=1)
    runs = [build.run("standard", a=curved, b=path, c=plane), build.run("noisy", a=plane, b=plane)]
    found = drawings([run.folder for run in runs])
    assert found["surface-a-convexity"] == found["surface-b-trajectory"] == ["standard"]
    assert found["surface-b-contour"] == ["standard", "noisy"]
    assert len(found) == 11
    assert len(draw(runs, figures=["convexity", "trajectory"])) == 2


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("convexity", r"surface.metrics=\[hessian\]"),
        ("trajectory", "surface.directions={kind: pca}"),
        ("seeds", "surface.directions={kind: random, seed: 1}"),
    ],
)
def test_what_a_figure_lacks_is_named_with_its_command(build: Build, figure: str, said: str) -> None:
    run = build.run(main=build.surface(lambda x, y: 1 + x + y))
    with pytest.raises(RequestError, match=rf"lossviz surface {run.folder} --set .*{said}"):
        draw([run], figures=[figure])
    run.surface_file("main").unlink()
    with pytest.raises(RequestError, match=r"no surface-\*.nc"):
        draw([run], figures=[figure])


def test_a_measure_of_the_step_is_made_along_a_training_with_momentum(build: Build) -> None:
    """A probe of the folder would be refused: its checkpoints hold no momentum."""
    run = build.run(settings=["train.momentum=0.9"], train=build.train())
    with pytest.raises(RequestError) as error:
        draw([run], figures=["scalars"])
    command = (
        f"lossviz probe {run.config_file} --out {build.out} --set 'probe.measures=[landscape, critical-sharpness]'"
    )
    assert str(error.value).endswith(f"no probe.nc, or nothing in it yet; made by: {command}")
