from __future__ import annotations

from pathlib import Path

import pytest

from dataharbour.errors import Unavailable
from dataharbour.platform.maven import CENTRAL, mirrors_central, read_maven

NOWHERE = {"PATH": "/nonexistent"}


def settings(folder: Path, body: str) -> Path:
    """A settings.xml as Maven's documentation writes it, namespace and all."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "settings.xml"
    file.write_text(
        '<?xml version="1.0"?><!-- ours --><settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">'
        f"<!-- and more -->{body}</settings>"
    )
    return file


def mirror(pattern: str, url: str = "https://m.example/maven/", name: str = "ours") -> str:
    return (
        f"<mirrors><mirror><id>{name}</id><mirrorOf>{pattern}</mirrorOf>"
        f"<url>{url}</url></mirror></mirrors>"
    )


@pytest.mark.parametrize(
    ("pattern", "stands_for_central"),
    [
        ("central", True),
        ("*", True),
        ("external:*", True),
        ("apache, central", True),
        ("*,!central", False),
        ("external:http:*", False),  # Central is https; Maven ships such a mirror, blocked
        ("apache", False),
    ],
)
def test_mirror_patterns_follow_mavens_rule(pattern, stands_for_central):
    assert mirrors_central(pattern, CENTRAL) is stands_for_central


def test_without_settings_it_is_central_and_the_usual_folder(tmp_path):
    maven = read_maven(NOWHERE, home=tmp_path)
    assert (maven.repository.url, maven.repository.login) == (CENTRAL, None)
    assert maven.local == tmp_path / ".m2" / "repository"


def test_the_mirror_comes_with_its_servers_login(tmp_path):
    login = (
        "<servers><server><id>ours</id><username>me</username>"
        "<password>${env.PW}</password></server></servers>"
    )
    settings(tmp_path / ".m2", mirror("*") + login)
    repository = read_maven({**NOWHERE, "PW": "s3cret"}, home=tmp_path).repository
    assert repository.url == "https://m.example/maven"
    assert repository.login == ("me", "s3cret")
    assert "s3cret" not in repr(repository)


def test_a_login_in_the_mirrors_address_is_no_part_of_what_is_shown(tmp_path):
    settings(tmp_path / ".m2", mirror("*", "https://me:p%40ss@m.example:8443/maven/"))
    repository = read_maven(NOWHERE, home=tmp_path).repository
    assert repository.url == "https://m.example:8443/maven"
    assert repository.login == ("me", "p@ss")


def test_the_users_mirror_comes_before_the_installations(tmp_path):
    settings(tmp_path / "maven" / "conf", mirror("central", "https://installation.example"))
    environ = {**NOWHERE, "MAVEN_HOME": str(tmp_path / "maven")}
    assert read_maven(environ, home=tmp_path).repository.url == "https://installation.example"
    settings(tmp_path / ".m2", mirror("central", "https://user.example"))
    assert read_maven(environ, home=tmp_path).repository.url == "https://user.example"


def test_a_mirror_of_exactly_central_comes_before_one_of_everything(tmp_path):
    both = mirror("*", "https://all.example") + mirror("central", "https://central.example")
    settings(tmp_path / ".m2", both)
    assert read_maven(NOWHERE, home=tmp_path).repository.url == "https://central.example"


def test_an_active_profile_may_give_central_another_address(tmp_path):
    profile = (
        "<profiles><profile><id>{}</id><repositories><repository><id>central</id>"
        "<url>https://artifactory.example/x</url></repository></repositories></profile></profiles>"
    )
    active = "<activeProfiles><activeProfile>work</activeProfile></activeProfiles>"
    settings(tmp_path / ".m2", profile.format("work") + active)
    assert read_maven(NOWHERE, home=tmp_path).repository.url == "https://artifactory.example/x"
    settings(tmp_path / ".m2", profile.format("other") + active)
    assert read_maven(NOWHERE, home=tmp_path).repository.url == CENTRAL


def test_the_proxy_is_used_but_for_the_hosts_it_is_not_for(tmp_path):
    proxy = (
        "<proxies><proxy><protocol>http</protocol><host>p.example</host><port>3128</port>"
        "<username>u</username><password>p@s</password>"
        "<nonProxyHosts>localhost|*.inside.example</nonProxyHosts></proxy></proxies>"
    )
    settings(tmp_path / ".m2", proxy)
    assert read_maven(NOWHERE, home=tmp_path).repository.proxy == "http://u:p%40s@p.example:3128"
    settings(tmp_path / ".m2", proxy + mirror("*", "https://maven.inside.example"))
    assert read_maven(NOWHERE, home=tmp_path).repository.proxy is None


def test_an_inactive_proxy_is_not_used(tmp_path):
    settings(
        tmp_path / ".m2",
        "<proxies><proxy><active>false</active><host>p.example</host></proxy></proxies>",
    )
    assert read_maven(NOWHERE, home=tmp_path).repository.proxy is None


def test_the_local_repository_may_lie_elsewhere(tmp_path):
    settings(tmp_path / ".m2", "<localRepository>${user.home}/jars</localRepository>")
    assert read_maven(NOWHERE, home=tmp_path).local == tmp_path / "jars"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (mirror("*").replace("</id>", "</id><blocked>true</blocked>"), "block"),
        (
            mirror("*") + "<servers><server><id>ours</id><username>me</username>"
            "<password>{COQLCE6DU6GtcS5P=}</password></server></servers>",
            "encrypted",
        ),
        ("<mirrors>", "cannot be read"),
    ],
    ids=["blocked", "encrypted", "broken"],
)
def test_settings_that_cannot_be_followed_make_maven_unavailable(tmp_path, body, problem):
    settings(tmp_path / ".m2", body)
    with pytest.raises(Unavailable, match=problem):
        read_maven(NOWHERE, home=tmp_path)
