"""`dvbench weights embed`: names become texts, texts vectors, and vectors a table that keeps their cosines."""

import json
import sys
from pathlib import Path

import pytest
import torch
import transformers
from torch.nn import functional as F

from dvbench import cli
from dvbench.data import catalog
from dvbench.weights.text_embeddings import Encoder, EncoderError, embed, open_encoder, projected, words
from tasks.embeddings import read
from tests.dvbench.small_clip import small_clip

FMOW = catalog.entry("fmow").card.classes


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def encoder(clip: Path) -> Encoder:
    return open_encoder(str(clip))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("multi-unit_residential", "multi unit residential"),
        ("StorageTanks", "storage tanks"),
        ("zoo", "zoo"),
        ("Small-scale oil palm plantation", "small scale oil palm plantation"),
        ("parkinglot", "parkinglot"),
    ],
)
def test_names_are_said_in_words(name: str, said: str) -> None:
    assert words(name) == said


def test_texts_get_the_vectors_that_transformers_gives_each_of_them_alone(clip: Path, encoder: Encoder) -> None:
    model = transformers.CLIPTextModelWithProjection.from_pretrained(clip)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip)
    texts = ["an aerial image of a zoo", "ship"]
    for text, found in zip(texts, encoder.encode(texts), strict=True):
        with torch.no_grad():
            wanted = model(torch.tensor([tokenizer(text)["input_ids"]])).text_embeds[0]
        torch.testing.assert_close(found.float(), wanted / wanted.norm())


def test_several_prompts_are_averaged_as_directions(encoder: Encoder) -> None:
    one, two = encoder.encode(["a zoo", "a port"]), encoder.encode(["the zoo", "the port"])
    mean = (one + two) / 2
    wanted = F.cosine_similarity(mean[0], mean[1], dim=0).item()
    rows = embed(("zoo", "port"), ["a {}", "the {}"], encoder, 16, seed=0).rows
    assert F.cosine_similarity(rows[0], rows[1], dim=0).item() == pytest.approx(wanted, abs=1e-6)


def clustered(classes: int, width: int) -> torch.Tensor:
    """Unit rows around a common direction, as those of a text encoder are."""
    torch.manual_seed(0)
    return F.normalize(torch.randn(width).double() + 0.5 * torch.randn(classes, width).double(), dim=1)


@pytest.mark.parametrize("width", [63, 256, 1024])
def test_cosines_are_kept_exactly_where_there_are_no_more_classes_than_channels(width: int) -> None:
    features = clustered(63, 768)
    rows = projected(features, width, seed=0)
    torch.testing.assert_close(rows @ rows.T / width, features @ features.T)


def test_rows_have_the_norm_of_random_ones_and_leave_no_channel_empty() -> None:
    rows = projected(clustered(63, 512), 256, seed=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.full((63,), 16.0).double())
    assert rows.std(0).min() > 0.1 * rows.std(0).max()


def test_with_fewer_channels_the_largest_inner_products_are_kept_best() -> None:
    """By Eckart-Young no table of rank 8 is nearer to the Gram matrix; centring, or other directions, do worse."""
    features = clustered(40, 64)
    gram, values = features @ features.T, torch.linalg.svdvals(features)
    rows = projected(features, 8, seed=0)
    rows = rows * (features @ torch.linalg.svd(features).Vh[:8].T).norm(dim=1, keepdim=True) / 8**0.5  # the norms lost
    torch.testing.assert_close((gram - rows @ rows.T).norm(), (values[8:] ** 2).norm())


def test_the_table_depends_on_the_seed_and_on_no_order_or_sign() -> None:
    features = clustered(20, 64)
    rows = projected(features, 32, seed=0)
    torch.testing.assert_close(projected(features.flip(0), 32, seed=0).flip(0), rows)
    torch.testing.assert_close(projected(features, 32, seed=0), rows, rtol=0, atol=0)
    assert not torch.allclose(projected(features, 32, seed=1), rows)


def test_the_verb_writes_a_table_that_says_how_it_was_made(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fmow.safetensors"
    given = ["weights", "embed", "--classes", "fmow", "--encoder", str(clip), "--out", str(out)]
    assert cli.main([*given, "--prompt", "a {}", "one {}", "--seed", "7"]) == 0
    found = read(f"text:{out}", FMOW, 256)
    told = {name: found.about[name] for name in ("encoder", "prompts", "seed", "transformers", "torch")}
    assert told == {
        "encoder": str(clip),
        "prompts": json.dumps(["a {}", "one {}"]),
        "seed": "7",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    assert len(found.about["encoder_sha256"]) == 64
    assert "without centring" in found.about["projection"]
    printed = capfd.readouterr().out
    assert "63 classes, width 256" in printed
    cosines = F.normalize(found.rows, dim=1) @ F.normalize(found.rows, dim=1).T - torch.eye(63)
    nearest = divmod(int(cosines.argmax()), 63)
    first = next(line for line in printed.splitlines() if f"{cosines.max():.3f}" in line)
    assert {FMOW[place] for place in nearest} <= set(first.split())
    before = out.read_bytes()
    assert cli.main(given) == 2
    assert "--force" in capfd.readouterr().err
    assert out.read_bytes() == before
    assert cli.main([*given, "--force"]) == 0


def refused(source: object, told: str) -> None:
    with pytest.raises(EncoderError, match=told) as caught:
        open_encoder(str(source))
    assert "\n" not in str(caught.value)


def test_an_encoder_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "is no folder")
    refused("hf://owner", "write hf://owner/repository")
    refused(tmp_path, r"has no model\.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    refused(tmp_path, "cannot be loaded")


EYE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 32}


def test_of_a_whole_clip_the_half_for_texts_is_taken(tmp_path: Path) -> None:
    small_clip(tmp_path)
    text = transformers.CLIPTextConfig.from_pretrained(tmp_path)
    config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=EYE, projection_dim=48)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    encoder = open_encoder(str(tmp_path))
    with torch.no_grad():
        hidden = model.text_model(**encoder.tokenizer(["a zoo"], return_tensors="pt")).pooler_output
        wanted = F.normalize(model.text_projection(hidden), dim=1)
    torch.testing.assert_close(encoder.encode(["a zoo"]).float(), wanted)


def test_an_image_encoder_is_no_text_encoder(tmp_path: Path) -> None:
    """Its file would leave the text encoder's weights random, without a word from transformers."""
    small_clip(tmp_path)
    vision = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**EYE))
    vision.save_pretrained(tmp_path / "vision")
    (tmp_path / "vision" / "model.safetensors").replace(tmp_path / "model.safetensors")
    refused(tmp_path, "is no text encoder of CLIP")


def test_nothing_in_an_encoders_files_is_run(tmp_path: Path) -> None:
    small_clip(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    for name in ("config.json", "tokenizer_config.json"):
        told = json.loads((tmp_path / name).read_text())
        told["auto_map"] = {
            "AutoTokenizer": ["evil.Evil", "evil.Evil"],
            "AutoModel": "evil.Evil",
            "AutoConfig": "evil.Evil",
        }
        told["tokenizer_class"] = "Evil"
        (tmp_path / name).write_text(json.dumps(told))
    refused(tmp_path, "cannot be loaded")
    assert not (tmp_path / "ran").exists()
    small_clip(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "aside")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"has no model\.safetensors")


def test_of_the_hub_only_what_is_read_is_fetched_and_its_commit_is_kept(
    clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / ("a" * 40)
    folder.symlink_to(clip)
    asked = {}

    def fetch(repository: str, allow_patterns: list[str]) -> str:
        asked[repository] = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    about = open_encoder("hf://openai/clip").about
    assert (about["encoder"], about["encoder_revision"]) == ("hf://openai/clip", "a" * 40)
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in asked["openai/clip"])


def test_without_a_network_a_folder_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("Name or service not known\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    refused(
        "hf://openai/clip", r"cannot be fetched \(Name or service not known\); download it elsewhere and give its f"
    )


def test_without_transformers_the_extra_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(clip, r"uv sync --extra text, or pip install 'dvbench\[text\]'")


def test_prompts_without_a_place_or_too_long_are_refused(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match=r"prompt 'a ship' has no \{\}"):
        embed(("zoo",), ["{}", "a ship"], encoder, 16, seed=0)
    with pytest.raises(EncoderError, match="a text has 102 tokens, the encoder takes 77: shorten the prompt"):
        embed(("zoo",), ["a" * 97 + "{}"], encoder, 16, seed=0)
