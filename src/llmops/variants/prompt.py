"""The variant that renders a prompt for each case and completes it on a backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.errors import InputError, PromptError, did_you_mean
from llmops.registry import names
from llmops.types import Build, Case, Message, Output, Request, Trial, VariantInfo


class PromptVariant:
    """A prompt file on a backend.

    `backend` (a short form), `model` and `parameters` win over the prompt's front matter; parameters are merged
    key by key. `variables` are fixed values for every case and win over the case's inputs, which are passed when
    the prompt uses them. A case's contexts become the variable `contexts`, a list of texts.
    """

    def __init__(
        self,
        build: Build,
        prompt: str,
        backend: Any = None,
        model: str = "",
        parameters: dict[str, Any] | None = None,
        variables: dict[str, Any] | None = None,
    ) -> None:
        self._prompt = build.prompt(prompt)
        self._wanted: frozenset[str] | None = getattr(self._prompt, "variables", None)
        spec = self._prompt.backend if backend is None else backend
        if spec is None:
            raise InputError(
                f"prompt {self._prompt.name} has no backend",
                where=build.where,
                hint=f"write backend: beside prompt: in the suite; known: {', '.join(names('backends'))}",
            )
        self._fixed = dict(variables or {})
        self._check_fixed(build.where)
        self.backend = build.backend(spec)
        given = {"backend": dict(self.backend.identity) if backend is not None else None, "model": model}
        self._overrides = {**given, "parameters": dict(parameters or {})}
        self._model = model or self._prompt.model
        self._parameters = {**self._prompt.parameters, **(parameters or {})}
        self.info = VariantInfo(name="", kind="prompt", details=self._details(), note=self._note())

    def check(self, case: Case) -> None:
        """Raise `PromptError`, with the case's place, if `case` can't be rendered. Calls no backend."""
        try:
            self._render(case)
        except PromptError as error:
            message = f"{error.message} ({error.where})" if case.where and error.where else error.message
            hint = error.hint
            if hint.startswith("given:"):  # that lists only what the prompt takes
                hint = f"the case has: {', '.join(sorted(map(str, case.inputs))[:20]) or 'no inputs'}"
            raise PromptError(message, where=case.where or error.where, hint=hint) from error

    def requests(self, trial: Trial) -> list[Request]:
        """What `answer` would send for `trial`."""
        return [self._request(self._render(trial.case), trial.repeat)]

    async def answer(self, trial: Trial) -> Output:
        """Render, complete, and return the answer. Raises `PromptError` and what the backend raises."""
        messages = self._render(trial.case)
        completion = await self.backend.complete(self._request(messages, trial.repeat))
        facts = {
            "model": completion.model,
            "finish_reason": completion.finish_reason,
            "first_token_s": completion.first_token_s,
        }
        return Output(
            text=completion.text,
            contexts=trial.case.contexts if self._shows_contexts(trial.case) else (),
            tool_calls=completion.tool_calls,
            messages=messages,
            usage=completion.usage,
            latency_s=completion.latency_s,
            cached=completion.cached,
            metadata={key: value for key, value in facts.items() if value},
        )

    def _request(self, messages: tuple[Message, ...], repeat: int) -> Request:
        prompt = self._prompt
        return Request(messages, self._model, self._parameters, prompt.tools, prompt.output_schema, repeat)

    def _render(self, case: Case) -> tuple[Message, ...]:
        wanted = self._wanted
        values = {k: v for k, v in case.inputs.items() if wanted is None or k in wanted}
        if self._shows_contexts(case):
            values["contexts"] = [context.text for context in case.contexts]
        values.update(self._fixed)
        return self._prompt.render(values)

    def _shows_contexts(self, case: Case) -> bool:
        """True when the case's own contexts, and nothing else of that name, reach the template."""
        if not case.contexts or "contexts" in case.inputs or "contexts" in self._fixed:
            return False
        return self._wanted is not None and "contexts" in self._wanted

    def _check_fixed(self, where: str) -> None:
        for name in self._fixed:
            if self._wanted is not None and name not in self._wanted:
                hint = did_you_mean(name, self._wanted)
                raise InputError(f"prompt {self._prompt.name} has no variable {name!r}", where=where, hint=hint)

    def _details(self) -> Mapping[str, Any]:
        details: dict[str, Any] = {
            "prompt": self._prompt.reference,
            "content_id": self._prompt.content_id,
            "backend": dict(self.backend.identity),
            "model": self._model,
            "parameters": dict(self._parameters),
        }
        label: dict[str, Any] = {"label": self._prompt.label} if self._prompt.label else {}
        overrides = {key: value for key, value in self._overrides.items() if value}
        label |= {"overrides": overrides} if overrides else {}
        texts = getattr(self._prompt, "texts", None)
        label |= {"prompt_text": [[str(role), str(text)] for role, text in texts]} if texts else {}
        return details | label | ({"variables": dict(self._fixed)} if self._fixed else {})

    def _note(self) -> str:
        return str(getattr(self.backend, "note", "") or "")
