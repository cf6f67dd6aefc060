import pytest

from metamath_ray.released import released_type


@pytest.mark.parametrize(
    ("source", "augmentation", "name"),
    [
        ("gsm8k", "answer_augmentation", "GSM_AnsAug"),
        ("math", "rephrasing", "MATH_Rephrased"),
        ("math", "self_verification", "MATH_SV"),
        ("bundled", "fobar", "BUNDLED_FOBAR"),
        ("own-set", "shuffled", "OWN-SET_shuffled"),
    ],
)
def test_types_are_named_as_the_released_file_names_them(source: str, augmentation: str, name: str) -> None:
    assert released_type(source, augmentation) == name
