"""Runs the `run:` steps of action.yml as GitHub's runner would, with bash; `uses:` steps are only noted.

It understands what this action uses: expressions in `env`, `with` and `if` that are `inputs.…`, `steps.…`, `github.…`
or `runner.…`, `always()`, `==`, `!=` and `&&`. A step after a failed one runs only with `always()`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class Ran:
    """What became of the action: each step's name or action, what it printed, and the outputs."""

    steps: list[str] = field(default_factory=list)
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    exit_code: int = 0
    summary: str = ""


class Runner:
    """An action file, and the workspace and environment of a job."""

    def __init__(self, action: Path, workspace: Path, temp: Path, environment: Mapping[str, str]) -> None:
        self.action = yaml.safe_load(action.read_text("utf-8"))
        self.workspace = workspace
        self.temp = temp
        temp.mkdir(exist_ok=True)
        here = {"GITHUB_WORKSPACE": workspace, "RUNNER_TEMP": temp, "GITHUB_ACTION_PATH": action.parent}
        self.environment = {**environment, **{name: str(path) for name, path in here.items()}}

    def run(self, **inputs: str) -> Ran:
        """Run all steps; underscores in the names of inputs stand for hyphens."""
        values = {name: str(one.get("default", "")) for name, one in self.action["inputs"].items()}
        values |= {name.replace("_", "-"): value for name, value in inputs.items()}
        assert set(values) == set(self.action["inputs"])
        context: dict[str, str] = {f"inputs.{name}": self._filled(value, {}) for name, value in values.items()}
        ran, failed = Ran(), 0
        for step in self.action["runs"]["steps"]:
            condition = str(step.get("if", ""))
            if (failed and "always()" not in condition) or not self._true(condition, context):
                continue
            name = step.get("name") or step["uses"]
            ran.steps.append(name)
            if "uses" in step:
                ran.used[name] = {key: self._filled(str(text), context) for key, text in step["with"].items()}
                continue
            code, log, outputs = self._bash(step, context)
            ran.logs[name] = log
            context |= (
                {f"steps.{step['id']}.outputs.{key}": value for key, value in outputs.items()} if "id" in step else {}
            )
            failed = failed or code
        ran.exit_code = failed
        ran.outputs = {key: self._filled(one["value"], context) for key, one in self.action["outputs"].items()}
        summary = self.temp / "summary.md"
        ran.summary = summary.read_text("utf-8") if summary.exists() else ""
        return ran

    def _bash(self, step: Mapping[str, Any], context: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
        assert step["shell"] == "bash"
        script, output = self.temp / "step.sh", self.temp / "output"
        script.write_text(step["run"], "utf-8")
        output.write_text("", "utf-8")
        own = {key: self._filled(str(text), context) for key, text in step.get("env", {}).items()}
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md")}
        folder = self.workspace / self._filled(step.get("working-directory", "."), context)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=folder, env={**self.environment, **files, **own}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        pairs = [line.partition("=") for line in output.read_text("utf-8").splitlines()]
        return done.returncode, done.stdout + done.stderr, {name: value for name, _, value in pairs}

    def _filled(self, text: str, context: Mapping[str, str]) -> str:
        return _EXPRESSION.sub(lambda found: self._value(found[1], context), text)

    def _value(self, name: str, context: Mapping[str, str]) -> str:
        if name.startswith("'"):
            return name.strip("'")
        if name.startswith(("github.", "runner.")):
            return self.environment.get(name.replace(".", "_").upper(), "")
        assert name.startswith(("inputs.", "steps.")), name
        return context.get(name, "")

    def _true(self, condition: str, context: Mapping[str, str]) -> bool:
        for part in condition.split("&&"):
            if part.strip() in ("", "always()"):
                continue
            left, sign, right = re.split(r"\s*(==|!=)\s*", part.strip())
            if (self._value(left, context) == self._value(right, context)) != (sign == "=="):
                return False
        return True
