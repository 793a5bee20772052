"""The TLS context: files that do not fit are a matter of settings."""

import ssl

import pytest

from connector.errors import ConfigurationError
from connector.sip2.tls import build_server_context


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_files_that_cannot_be_used_are_named(tmp_path, content):
    for name in ("c.pem", "c.key"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        build_server_context(tmp_path / "c.pem", tmp_path / "c.key")
    assert "c.pem" in caught.value.remedy
    assert isinstance(caught.value.__cause__, OSError | ssl.SSLError)
