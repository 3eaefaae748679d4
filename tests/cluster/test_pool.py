"""A scheduler that cannot be reached is named, and nothing is left that speaks later."""

import gc
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dask
import pytest
from distributed.security import Security

from lossviz.cluster.pool import Pool, is_dashboard
from lossviz.errors import WorkError


def test_without_certificates_a_scheduler_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    with pytest.raises(WorkError) as caught:
        Pool("tls://127.0.0.1:9")
    first, advice = str(caught.value).splitlines()
    assert first == "tls://127.0.0.1:9: cannot be reached: Dask's configuration has no distributed.comm.tls.ca-file"
    assert "~/.config/dask" in advice
    del caught
    gc.collect()
    assert said == []


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> dict[str, str]:
    """Certificates in files, by their keys in Dask's configuration."""
    made = Security.temporary()
    contents = {"ca-file": made.tls_ca_file, "client.cert": made.tls_client_cert, "client.key": made.tls_client_key}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return {f"distributed.comm.tls.{name}": str(tmp_path / name) for name in contents}


def refused(address: str, settings: dict[str, str]) -> list[str]:
    with dask.config.set(settings), pytest.raises(WorkError) as caught:
        Pool(address)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", ["ca-file", "client.cert", "client.key"])
def test_a_file_of_the_certificates_that_is_missing_or_wrong_is_named(files: dict[str, str], name: str) -> None:
    key, address = f"distributed.comm.tls.{name}", "tls://127.0.0.1:9"
    first, advice = refused(address, {**files, key: "~/mine.pem"})
    assert first == "~/mine.pem: cannot be read: No such file or directory"
    assert key in advice
    Path(files[key]).write_text("no certificate")
    first, _ = refused(address, files)
    assert files[key] in first
    assert "are no certificates with their key" in first


def test_the_key_may_be_in_the_file_of_the_certificate(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody listens, and no file is blamed."""
    monkeypatch.setattr("lossviz.cluster.pool.TIME_OUT_S", 0.5)
    certificate = Path(files["distributed.comm.tls.client.cert"])
    certificate.write_text(certificate.read_text() + Path(files.pop("distributed.comm.tls.client.key")).read_text())
    first, advice = refused("tls://127.0.0.1:9", files)
    assert first.startswith("tls://127.0.0.1:9: cannot be reached: Timed out")
    assert "is it running" in advice


def test_who_says_tcp_is_told_of_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that requires encryption only closes the connection."""
    monkeypatch.setattr("lossviz.cluster.pool.TIME_OUT_S", 0.5)
    for settings in ({}, {"distributed.comm.require-encryption": "true"}):
        first, advice = refused("tcp://127.0.0.1:9", settings)
        assert first.startswith("tcp://127.0.0.1:9: cannot be reached: ")
        assert "if it has certificates, say tls://127.0.0.1:9; name them in a YAML file in ~/.config/dask" in advice


class Page(BaseHTTPRequestHandler):
    """Pages of web servers of schedulers."""

    def do_GET(self) -> None:
        pages = {
            "/status": "<title>Dask: Status</title>",
            "/missing": "<p>Dask needs bokeh>=3.1.0 for the dashboard.</p>",
        }
        self.send_response(200 if self.path in pages else 404)
        self.end_headers()
        self.wfile.write(pages.get(self.path, "").encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(name="server")
def _server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_dashboard_is_a_page_that_opens(server: str) -> None:
    assert is_dashboard(f"{server}/status")
    assert not is_dashboard(f"{server}/missing")  # bokeh
    assert not is_dashboard(f"{server}/nothing")  # --no-dashboard
    assert not is_dashboard("http://127.0.0.1:9/status")
    assert not is_dashboard("None")
