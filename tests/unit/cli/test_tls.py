"""`garbagetruck tls init`: what it makes, and what it leaves alone."""

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from garbagetruck.cli.app import app
from garbagetruck.cli.certificates import TRUST_DOMAIN
from garbagetruck.cluster.raft.tls import PeerNames, TlsFiles, load, spiffe_id


def init(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["tls", "init", "production", "--dir", str(folder), *arguments])
    return result.exit_code, result.output


def uris(certificate: Path) -> list[str]:
    extensions = x509.load_pem_x509_certificate(certificate.read_bytes()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def test_each_node_gets_a_certificate_that_speaks_for_it_and_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    code, said = init(folder)
    assert code == 0
    for node_id in ("n1", "n2", "n3"):
        files = TlsFiles(folder / f"{node_id}.pem", folder / f"{node_id}.key", folder / "ca.pem")
        load(files)
        assert f'tls_certificate = "{files.certificate}"' in said
        assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
        assert uris(files.certificate) == [
            spiffe_id(trust_domain=TRUST_DOMAIN, cluster_id="production", node_id=node_id)
        ]
        names = PeerNames(frozenset(uris(files.certificate)), frozenset())
        assert names.speak_for(cluster_id="production", node_id=node_id)
        assert not names.speak_for(cluster_id="production", node_id="n9")
        assert not names.speak_for(cluster_id="staging", node_id=node_id)
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600


def test_further_nodes_are_signed_by_the_authority_that_is_there(tmp_path: Path) -> None:
    assert init(tmp_path, "--node", "n1")[0] == 0
    authority = (tmp_path / "ca.pem").read_bytes()
    assert init(tmp_path, "--node", "n4")[0] == 0
    assert (tmp_path / "ca.pem").read_bytes() == authority
    context = load(TlsFiles(tmp_path / "n4.pem", tmp_path / "n4.key", tmp_path / "ca.pem")).server
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    assert init(tmp_path, "--node", "n1")[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, said = init(tmp_path, "--node", "n1")
    assert code == 1
    assert "n1.key exists" in said
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["../n1", "n 1", "", "ca", "-n"])
def test_a_name_that_no_node_can_have_is_refused(tmp_path: Path, name: str) -> None:
    code, _ = init(tmp_path / "tls", f"--node={name}")
    assert code == 2
    assert not (tmp_path / "tls").exists()


def test_an_authority_that_is_damaged_is_said(tmp_path: Path) -> None:
    assert init(tmp_path, "--node", "n1")[0] == 0
    (tmp_path / "ca.key").write_text("no key")
    code, said = init(tmp_path, "--node", "n2")
    assert code == 1
    assert "Error:" in said
