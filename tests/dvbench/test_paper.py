import pandas as pd
import pytest

from dvbench.paper import PAPER, TABLES, UnknownTableError, figures, index, table


def test_the_index_names_all_nineteen_tables_in_order() -> None:
    assert list(index()["table"]) == [str(number) for number in TABLES]
    assert len(TABLES) == 19


@pytest.mark.parametrize("number", TABLES)
def test_every_table_has_the_rows_and_columns_of_the_index(number: int) -> None:
    entry = index().iloc[number - 1]
    frame = table(number)
    assert len(frame) == int(entry["rows"])
    assert list(frame.columns) == entry["columns"].split()


@pytest.mark.parametrize("number", TABLES)
def test_every_cell_is_text_and_gaps_are_empty(number: int) -> None:
    cells = table(number).to_numpy().ravel()
    assert all(isinstance(cell, str) and cell == cell.strip() for cell in cells)
    assert not {"-", "nan", "NaN", "None"} & set(cells)


def test_numbers_keep_every_printed_digit() -> None:
    resnet18 = table(2).iloc[0]
    assert (resnet18["method"], resnet18["uc_merced_f1"], resnet18["aid_precision"]) == ("ResNet-18", "87.40", "88.70")
    assert table(1).iloc[0]["reduction_ratio_stage1"] == "7/8"


def _row(frame: pd.DataFrame, **wanted: str) -> dict[str, str]:
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    (row,) = frame.to_dict("records")
    return {str(column): value for column, value in row.items()}


@pytest.mark.parametrize(
    ("model", "variant", "resolution", "printed"),
    [
        ("ResNet101", "", "128", ("5.13", "300.96", "false")),
        ("ViT-B", "", "2048", ("1581.18", "25253.80", "false")),
        ("ViT-B", "", "4096", ("", "", "true")),
        ("DynamicVis-B", "no_selection_no_mil", "4096", ("1247.37", "14743.85", "false")),
        ("DynamicVis-B", "", "512", ("15.70", "188.71", "false")),
        ("DynamicVis-B", "", "2048", ("97.18", "833.21", "false")),
    ],
)
def test_table_14(model: str, variant: str, resolution: str, printed: tuple[str, str, str]) -> None:
    row = _row(table(14), model=model, variant=variant, resolution=resolution)
    assert (row["latency_ms"], row["memory_mb"], row["oom"]) == printed


def test_table_14_covers_four_models_at_six_sizes_and_one_runs_out_of_memory() -> None:
    frame = table(14)
    assert len(frame.groupby(["model", "variant"])) == 4
    assert list(frame["resolution"].unique()) == ["128", "256", "512", "1024", "2048", "4096"]
    assert (frame["oom"] == "true").sum() == 1


def test_tables_13_and_14_agree_on_size_and_flops() -> None:
    for _, row in table(14).iterrows():
        same = _row(table(13), method=row["model"], variant=row["variant"])
        assert (same["params_m"], same["flops_g"]) == (row["params_m"], row["flops_g"])


def test_the_headline_figures() -> None:
    abstract = _row(figures(), source="abstract", quantity="latency")
    assert (abstract["value"], abstract["unit"]) == ("97", "ms")
    assert len(figures()) == 26


@pytest.mark.parametrize("number", [0, 20, -1])
def test_an_unknown_table_names_the_known_ones(number: int) -> None:
    with pytest.raises(UnknownTableError, match=f"no table {number}; choose one from 1 to 19"):
        table(number)


def test_the_citation() -> None:
    assert PAPER.url.endswith(f"{PAPER.arxiv}v{PAPER.version}")
