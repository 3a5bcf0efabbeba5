"""Union-find one by one and by arrays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.dataset.duplicates.union_find import Components


def test_components_are_known_by_their_smallest_position():
    united = Components(5)
    united.unite(4, 2)
    united.unite(2, 1)
    assert (united.find(4), united.find(1), united.find(0)) == (1, 1, 0)
    assert united.members() == [[0], [1, 2, 4], [3]]
    assert Components(0).members() == []


PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=12)


@given(st.lists(PAIRS, max_size=4))
def test_pairs_at_once_unite_what_pairs_one_by_one_do(portions):
    singly, at_once = Components(20), Components(20)
    for pairs in portions:
        for a, b in pairs:
            singly.unite(a, b)
        at_once.unite_pairs(*np.array(pairs, np.int64).reshape(-1, 2).T)
        assert at_once.labels(np.arange(20)).tolist() == [singly.find(i) for i in range(20)]
    assert at_once.members() == singly.members()
