"""TLS end to end: `openduck serve` with a certificate, the command line and stock DuckDB as clients, and who is refused."""
import shutil
import socket
import subprocess

import duckdb
import pytest
from conftest import TOKEN, connect, server_program

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="makes its certificates with openssl")


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")


def signed(folder, name, by):
    (folder / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "stranger"):
        authority(folder, name)
    signed(folder, "server", by="ca")
    signed(folder, "client", by="ca")
    signed(folder, "intruder", by="stranger")
    return folder


@pytest.fixture
def tls_server(start_server, certificates):
    def start(*flags):
        return start_server("--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key", *flags)
    return start


def openduck(*arguments, **more):
    return subprocess.run([server_program(), *arguments, "--token", TOKEN], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **more)


def attach(server, *options):
    con = connect()
    options = ", ".join(["TYPE openduck", f"ENDPOINT 'https://{server.endpoint}'", f"TOKEN '{TOKEN}'", *options])
    con.execute(f"ATTACH 'main' AS r ({options})")
    return con


def test_the_command_line_and_duckdb_over_tls(tls_server, certificates):
    server = tls_server()
    done = openduck("sql", "CREATE TABLE t AS SELECT 42 AS answer", "--endpoint", f"https://{server.endpoint}", "--tls-ca",
                    certificates / "ca.pem")
    assert done.returncode == 0, done.stderr
    con = attach(server, f"CA_FILE '{certificates / 'ca.pem'}'")
    assert con.sql("SELECT answer FROM r.t").fetchall() == [(42,)]
    con.execute("INSERT INTO r.t SELECT range::INTEGER FROM range(100000)")
    assert con.sql("SELECT count(*) FROM r.t").fetchall() == [(100001,)]


def test_a_server_of_an_unknown_authority_is_not_trusted(tls_server, certificates):
    server = tls_server()
    done = openduck("ping", "--endpoint", f"https://{server.endpoint}", "--tls-ca", certificates / "stranger.pem")
    assert done.returncode != 0 and server.endpoint in done.stderr
    with pytest.raises(duckdb.Error, match=str(server.port)):
        attach(server, f"CA_FILE '{certificates / 'stranger.pem'}'").sql("SELECT 1 FROM r.t").fetchall()


def test_a_client_without_tls_is_not_served(tls_server):
    server = tls_server()
    done = openduck("ping", "--endpoint", server.endpoint)
    assert done.returncode != 0 and server.endpoint in done.stderr


def test_certificates_are_demanded_of_clients(tls_server, certificates):
    server = tls_server("--tls-client-ca", certificates / "ca.pem")
    endpoint = ("--endpoint", f"https://{server.endpoint}", "--tls-ca", certificates / "ca.pem")

    def ping(*more):
        return openduck("ping", *endpoint, *more)
    assert ping("--tls-cert", certificates / "client.pem", "--tls-key", certificates / "client.key").returncode == 0
    assert ping().returncode != 0
    intruder = ping("--tls-cert", certificates / "intruder.pem", "--tls-key", certificates / "intruder.key")
    assert intruder.returncode != 0 and server.endpoint in intruder.stderr
    con = attach(server, *(f"{option} '{certificates / file}'" for option, file in
                           (("CA_FILE", "ca.pem"), ("CERTIFICATE_FILE", "client.pem"), ("KEY_FILE", "client.key"))))
    assert con.sql("FROM openduck_query('r', 'SELECT 7 AS n')").fetchall() == [(7,)]


@pytest.mark.parametrize("flags, words", [
    (["--tls-cert", "server.pem"], "needs both"),
    (["--tls-client-ca", "ca.pem"], "needs --tls-cert"),
    (["--tls-cert", "absent.pem", "--tls-key", "server.key"], "absent.pem"),
])
def test_half_a_configuration_is_refused(certificates, tmp_path, flags, words):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = openduck("serve", "--data", tmp_path / "data", "--listen", f"127.0.0.1:{port}", *flags, cwd=certificates)
    assert done.returncode != 0 and words in done.stderr
