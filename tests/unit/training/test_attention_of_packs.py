import importlib.util
from typing import get_args

import numpy as np
import pytest

from metamath_ray.training import _attention
from metamath_ray.training._attention import NEEDS_FLAT
from metamath_ray.training._batches import IGNORED, collate, collate_flat
from metamath_ray.training._options import Attention
from metamath_ray.training._packed import Pack

torch = pytest.importorskip("torch")

LENGTHS = ([5, 1, 17, 9], [30], [3, 3], [])
"""Documents of each pack: uneven ones, one that fills its pack, some with much padding behind, a dummy pack."""
IMPLEMENTATIONS = [name for name in get_args(Attention) if name != "auto"]


def random_packs(vocab_size):
    random = np.random.default_rng(0)
    for lengths in LENGTHS:
        yield Pack(
            input_ids=random.integers(10, vocab_size, sum(lengths)).astype(np.int32),
            lengths=np.array(lengths, np.int32),
            prompt_lengths=np.array([max(1, length // 3) for length in lengths], np.int32),
            row_ids=tuple(str(i) for i in range(len(lengths))),
        )


def load(folder, implementation):
    from transformers import AutoModelForCausalLM

    if implementation == "flash_attention_2":
        if not torch.cuda.is_available() or importlib.util.find_spec("flash_attn") is None:
            pytest.skip("flash attention needs a GPU and flash_attn")
        return AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation=implementation, dtype=torch.bfloat16, device_map="cuda"
        )
    _attention.register()
    # the student's logits reach 40: in fp32, rounding in its 30 layers alone makes differences of 2e-4
    dtype = torch.float32 if folder.name.startswith("tiny") else torch.float64
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=implementation, dtype=dtype)


@pytest.fixture(params=["tiny", "student"])
def folder(request):
    return request.getfixturevalue("tiny_model" if request.param == "tiny" else "student_folder")


@torch.no_grad()
def logits_of(model, batch, **options):
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids}
    return model(
        **{name: tensor.to(model.device) for name, tensor in inputs.items()}, **options
    ).logits.double()


def documents_of(packs):
    """Each document as a pack of its own, with the place of its pack and its first token there."""
    for row, pack in enumerate(packs):
        for i, end in enumerate(np.cumsum(pack.lengths)):
            start = end - pack.lengths[i]
            ids = pack.input_ids[start:end]
            yield row, int(start), Pack(ids, pack.lengths[i : i + 1], pack.prompt_lengths[i : i + 1], ())


def largest_difference(model, packs, batch, **options):
    packed = logits_of(model, batch, **options)
    if len(packed) == 1:  # a flat batch: the packs stand one after another
        packed = list(packed[0].split([len(pack.input_ids) for pack in packs]))
    return max(
        float((packed[row][start : start + len(document.input_ids)] - alone(model, document)).abs().max())
        for row, start, document in documents_of(packs)
    )


def alone(model, document):
    """The document's logits with nothing beside it: no position ids, no mask, no padding."""
    with torch.no_grad():
        ids = torch.from_numpy(document.input_ids.astype(np.int64))[None].to(model.device)
        return model(input_ids=ids, use_cache=False).logits[0].double()


@pytest.mark.parametrize("flat", [False, True], ids=["padded", "flat"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_packed_document_has_the_logits_that_it_has_alone(folder, implementation, flat):
    if implementation in NEEDS_FLAT and not flat:
        pytest.skip("takes flat batches: no documents are read off position ids where B > 1")
    model = load(folder, implementation)
    packs = list(random_packs(model.config.vocab_size))
    batch = collate_flat(packs) if flat else collate(packs, pad_token_id=0)
    tolerance = 0.1 if model.dtype == torch.bfloat16 else 1e-4
    difference = largest_difference(model, packs, batch, use_cache=False)
    print(f"{implementation}, {model.dtype}: logits differ by {difference:.1e}")
    assert difference < tolerance


@pytest.mark.parametrize("length", [30, 41], ids=["as long as the longest", "longer"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padding_changes_no_logits(tiny_model, implementation, length):
    model = load(tiny_model, implementation)
    packs = [pack for pack in random_packs(model.config.vocab_size) if len(pack.input_ids) <= 30]
    assert (
        largest_difference(model, packs, collate(packs, pad_token_id=0, length=length), use_cache=False)
        < 1e-4
    )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_logits_and_gradients_of_padding_are_finite(tiny_model, implementation):
    model = load(tiny_model, implementation)
    batch = collate(list(random_packs(model.config.vocab_size)), pad_token_id=0)
    logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
    loss_of(logits, batch.targets).backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_loss_of_a_batch_is_the_sum_of_its_documents_losses(tiny_model, implementation):
    model = load(tiny_model, implementation)
    packs = list(random_packs(model.config.vocab_size))
    batch = collate(packs, pad_token_id=0)
    whole = loss_of(logits_of(model, batch, use_cache=False), batch.targets)
    parts = [collate([document], pad_token_id=0) for _, _, document in documents_of(packs)]
    summed = sum(loss_of(logits_of(model, part, use_cache=False), part.targets) for part in parts)
    torch.testing.assert_close(whole, summed, rtol=1e-5, atol=1e-4)


def loss_of(logits, targets):
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "wrong",
    [{"use_cache": True}, {"attention_mask": torch.ones(4, 32, dtype=torch.int64), "use_cache": False}],
    ids=["with a cache", "with an attention mask"],
)
def test_control_documents_do_see_each_other(tiny_model, implementation, wrong):
    """Why the loop passes neither: with one of them, transformers ignores where position ids restart."""
    model = load(tiny_model, implementation)
    packs = list(random_packs(model.config.vocab_size))
    assert largest_difference(model, packs, collate(packs, pad_token_id=0), **wrong) > 1e-2


@pytest.mark.parametrize("window", [4, 17, 100])
def test_documents_see_no_further_than_the_models_window(tiny_model, tmp_path, window):
    """Mistral's: a document that is longer has other logits than under full attention."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig.from_pretrained(tiny_model, sliding_window=window)
    torch.manual_seed(0)
    MistralForCausalLM(config).save_pretrained(tmp_path / "tiny-mistral")
    batch = collate_flat(list(random_packs(config.vocab_size)))
    ours, theirs = (
        logits_of(load(tmp_path / "tiny-mistral", name), batch, use_cache=False)
        for name in ("documents", "eager")
    )
    assert float((ours - theirs).abs().max()) < 1e-4
