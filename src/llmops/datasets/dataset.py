"""A dataset: cases that can be read as often as wanted, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from llmops.datasets.building import CaseBuilder, place
from llmops.datasets.fields import Fields, parse_fields
from llmops.datasets.formats import source_of
from llmops.datasets.objects import RowsSource
from llmops.datasets.reading import Source
from llmops.datasets.selecting import Filters, nothing_left, parse_filters, sample_ids
from llmops.datasets.strict_json import shown
from llmops.datasets.surveying import HashBag, Survey, survey_of
from llmops.errors import DatasetError, InputError
from llmops.types import Case

Problem = Callable[[DatasetError], None]


class _Enough(Exception):
    """Enough problems were found."""


class Dataset:
    """Named, ordered cases. Iterating streams them from the file; nothing but the current row is held."""

    def __init__(self, source: Source, fields: Fields, *, name: str, path: Path | None = None) -> None:
        self.name = name
        self.path = path
        self._source = source
        self._fields = fields

    def __iter__(self) -> Iterator[Case]:
        """Cases in file order. Raises `DatasetError` at `file:line` on a row that isn't a case."""
        return self._scan(_stop, whole=False)

    def survey(self) -> Survey:
        """Check everything and count, in one pass.

        Raises `DatasetError` at `file:line` on a broken row, an id used twice, or a mapped column no row has.
        """
        return survey_of(self._scan(_stop, whole=True))

    def check(self, limit: int = 20) -> tuple[list[DatasetError], Survey | None]:
        """The first `limit` problems, and the survey when there are none. Never raises `DatasetError`."""
        problems: list[DatasetError] = []

        def collect(problem: DatasetError) -> None:
            problems.append(problem)
            if len(problems) >= limit:
                raise _Enough

        try:
            survey = survey_of(self._scan(collect, whole=True))
        except _Enough:
            return problems, None
        except DatasetError as error:  # the rest of the file can't be read
            return [*problems, error], None
        return problems, None if problems else survey

    def select(self, *, only: Sequence[str] = (), sample: int | None = None, seed: int = 0) -> Dataset:
        """The cases that pass the filters, then `sample` of them: the same for the same ids and `seed`.

        Filters are `tag:NAME`, `group:NAME` and `id:NAME`. Several of one kind are alternatives, different
        kinds must all hold, and a leading `!` excludes. Raises `InputError` on any other text; reading a
        selection that holds no case raises `InputError` too.
        """
        filters = parse_filters(only)
        if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int) or sample < 1):
            raise InputError(f"a sample of {shown(sample)} cases", hint="ask for 1 case or more")
        return self if not filters.texts and sample is None else _Selection(self, filters, sample, seed)

    def _scan(self, problem: Problem, *, whole: bool) -> Iterator[Case]:
        """Cases; every broken row goes to `problem`. With `whole`, also what only a full pass can tell."""
        source = self._source
        builder = CaseBuilder(self._fields, cells=source.cells, sparse=source.sparse)
        ids = HashBag()
        empty = True
        for where, row in source.rows():
            empty = False
            if isinstance(row, DatasetError):
                problem(row)
                continue
            try:
                case = builder.build(row, where)
            except DatasetError as error:
                problem(error)
                continue
            if whole:
                ids.add(case.id)
            yield case
        if empty:
            problem(DatasetError("has no cases", where=source.display, hint="add rows, one a case"))
        elif whole:
            for late in chain(builder.unused(source.display), self._twice(ids.repeated())):
                problem(late)

    def _twice(self, suspects: set[int]) -> Iterator[DatasetError]:
        """Read again for ids whose hashes met, to name both places and to clear those that only share a hash."""
        if not suspects:
            return
        first: dict[str, str] = {}
        builder = CaseBuilder(self._fields, cells=self._source.cells, sparse=self._source.sparse)
        for where, row in self._source.rows():
            try:
                case = None if isinstance(row, DatasetError) else builder.build(row, where)
            except DatasetError:
                continue
            if case is None or hash(case.id) not in suspects:
                continue
            if case.id in first:
                on = place(first[case.id])
                what = f"the id {shown(case.id)} is used twice" if builder.has_ids else "the same case twice"
                hint = "make ids unique" if builder.has_ids else "remove one, or give the rows ids"
                yield DatasetError(f"{what} (first on {on})", where=where, hint=hint)
            else:
                first[case.id] = where


class _Selection(Dataset):
    """Some of another dataset's cases. All of them are still checked."""

    def __init__(self, base: Dataset, filters: Filters, sample: int | None, seed: int) -> None:
        super().__init__(base._source, base._fields, name=base.name, path=base.path)
        self._base = base
        self._filters = filters
        self._sample = sample
        self._seed = seed
        self._ids: frozenset[str] | None = None  # chosen at the first pass: the choice depends on all the cases

    def _scan(self, problem: Problem, *, whole: bool) -> Iterator[Case]:
        chosen = self._chosen(problem)
        empty = True
        for case in self._base._scan(problem, whole=whole):
            if (chosen is None or case.id in chosen) and self._filters.accepts(case):
                empty = False
                yield case
        if empty:
            raise nothing_left(self._filters, self._base._scan(_ignore, whole=False))

    def _chosen(self, problem: Problem) -> frozenset[str] | None:
        if self._sample is None or self._ids is not None:
            return self._ids
        cases = self._base._scan(_ignore if problem is not _stop else _stop, whole=False)
        self._ids = sample_ids(filter(self._filters.accepts, cases), self._sample, self._seed)
        return self._ids


def _stop(problem: DatasetError) -> NoReturn:
    raise problem


def _ignore(problem: DatasetError) -> None:
    """A problem that another pass reports."""


def open_dataset(path: Path, *, fields: Mapping[str, Any] | None = None, name: str = "", where: str = "") -> Dataset:
    """The dataset in a file or folder; the suffix says how to read it.

    `fields` maps parts of a case to columns. `where` is the place the path and the fields were written at, for
    errors. Raises `DatasetError` when there is no such file, or no way to read it; rows are read later.
    """
    path = Path(path)
    mapped = parse_fields(fields, where)
    source = source_of(path, where)
    stem = path.name.partition("#")[0].removesuffix(".gz")
    return Dataset(source, mapped, name=name or Path(stem or "dataset").stem, path=path)


def dataset_of(
    rows: Iterable[Mapping[str, Any] | Case], *, fields: Mapping[str, Any] | None = None, name: str = "rows"
) -> Dataset:
    """A dataset of Python objects, held in memory: mappings as rows of a file would be, or cases.

    Raises `DatasetError` naming the row (`row 3`) when it is read, if a row can't be a case.
    """
    return Dataset(RowsSource(tuple(rows)), parse_fields(fields), name=name)
