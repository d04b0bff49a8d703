"""RandomWalks: find a shortest way to the goal of a random graph, one node a token."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import (
    InvalidSetting,
    InvalidSize,
    is_finite,
    require_between,
    require_flag,
    require_positive,
    require_tokens,
)
from textgym.prompts import ListedPrompts
from textgym.task import Task
from textgym.vocabulary import Vocabulary

GOAL = 0
DRAWS = 10_000  # of graphs, before none is expected


def random_walks(
    nodes: int = 21, edge_probability: float = 0.1, graph_seed: int = 1002, max_length: int = 10, mask: bool = False
) -> Task:
    """Walk to the goal of a random graph, by a shortest way.

    ## Description
    The task that trlx tells its algorithms apart with (examples/randomwalks, after Chen et al., 2021): a directed
    graph, drawn once, is hidden in the reward, and a text is a walk on it. By default the graph is trlx's own, which
    draws each edge with probability 0.1 until every node has a way out, and then lets no edge leave the goal.

    ## Prompts
    The node to start at, as one token, each equally likely: all that can earn something, and not the goal, `a`. By
    default these are the other twenty. (trlx starts its walks of other graphs at the rest, too.)

    ## Actions
    The next node, a letter: `Discrete(nodes)`.

    ## Observation
    `Box(0, pad, (max_length,), int32)`: the start, then the nodes walked to.

    ## Reward
    trlx's optimality, with the last token: (max_length - length) / (max_length - shortest) for a walk that arrives,
    where length counts its nodes, both ends included, and shortest those of a shortest one; 0 for another. So a
    shortest walk earns 1, and one that arrives with its last possible node earns nothing. From a start that cannot
    arrive, or only with its last node, trlx's formula divides 0 by 0: no prompt is such a start.

    ## Episode end
    Termination: the goal, a step that is no edge, or `max_length` nodes, the start included. `is_success` says whether
    the walk was a shortest one.

    ## Arguments
    - `nodes`: how many, 2 to 26: the letters from `a`.
    - `edge_probability`: of each edge, above 0 and at most 1.
    - `graph_seed`: of the graph.
    - `max_length`: the most nodes of a walk.
    - `mask`: whether to allow the edges alone where agents sample; what trlx calls its logit mask.

    Raises `InvalidSize` (nodes, a length), `InvalidSetting` (a probability, a seed or a mask that is none, a
    probability so low that no graph has a way out of every node, a graph in which no start can earn anything).

    ## Version history
    v0: initial version.
    """
    require_positive(nodes=nodes)
    require_tokens(max_length=max_length)
    require_between(0, 2**32 - 1, graph_seed=graph_seed)
    require_flag(mask=mask)
    if not 2 <= nodes <= 26:
        raise InvalidSize(f"nodes={nodes} are not from 2 to 26: a goal and a start, and one letter each.")
    if not is_finite(edge_probability) or not 0 < edge_probability <= 1:
        raise InvalidSetting(f"edge_probability={edge_probability!r} is no probability above 0. Give 0.1, or up to 1.")
    walk = Walk(random_graph(nodes, edge_probability, graph_seed), max_length)
    vocabulary = Vocabulary.from_characters(string.ascii_lowercase[:nodes])
    prompts = tuple(_prompts(walk))
    if not prompts:
        raise InvalidSetting(
            f"no walk of fewer than {max_length} nodes arrives in the graph of graph_seed={graph_seed}: nothing could "
            "be earned. Give another seed, a higher edge_probability or a longer max_length."
        )
    return Task(
        vocabulary,
        ListedPrompts(prompts),
        reward=Optimality(walk),
        horizon=max_length - 1,
        ends=WalkEnd(walk),
        metrics={"success": ShortestWalk(walk)},
        mask=Edges(walk) if mask else None,
        state_key=standing,
    )


def random_graph(nodes: int, edge_probability: float, seed: int) -> BoolArray:
    """Return trlx's graph of a seed.

    Each edge from one node to another exists with a probability; the graph is drawn again until every node has one, and
    the goal's are then replaced by one to itself.

    Returns:
        `(nodes, nodes)` bool: whether an edge leads from the row's node to the column's.

    Raises:
        InvalidSetting: in 10,000 draws some node never had a way out.
    """
    rng = np.random.RandomState(seed)  # trlx's generator: another one draws other graphs
    for _ in range(DRAWS):
        edges: BoolArray = rng.rand(nodes, nodes) > 1 - edge_probability
        np.fill_diagonal(edges, False)
        if edges.any(axis=1).all():
            edges[GOAL] = np.arange(nodes) == GOAL
            return edges
    raise InvalidSetting(
        f"edge_probability={edge_probability!r} leaves some of {nodes} nodes without a way out in each of {DRAWS:,} "
        f"graphs. Give a higher one: {1 / nodes:.2g} or more draws a way out for most nodes."
    )


def _prompts(walk: Walk) -> Iterator[Prompt]:
    """Yield the starts that can earn something, and the first of the shortest walks from each."""
    for start in range(1, len(walk.edges)):
        if 0 < walk.shortest[start] < walk.max_length:
            way = [start]
            while way[-1] != GOAL:
                nearer = walk.edges[way[-1]] & (walk.shortest == walk.shortest[way[-1]] - 1)
                way.append(int(nearer.argmax()))
            yield Prompt(np.array(way[:1], np.int32), np.array(way[1:], np.int32))


@dataclass(frozen=True, eq=False)
class Walk:
    """A graph, and where walks stand on it."""

    edges: BoolArray  # (nodes, nodes) from the row's node to the column's
    max_length: int  # nodes

    @cached_property
    def shortest(self) -> IntArray:
        """`(nodes,)` nodes of a shortest walk to the goal, both ends included; 0 where there is none."""
        shortest = np.zeros(len(self.edges), np.int64)
        reached = np.arange(len(self.edges)) == GOAL
        for length in range(1, len(self.edges) + 1):
            shortest[reached & (shortest == 0)] = length
            reached = self.edges[:, reached].any(axis=1)  # all that stand one step before
        return shortest

    def step(self, episodes: Episodes) -> tuple[BoolArray, BoolArray]:
        """Return whether the newest step is an edge, and whether it leads to the goal, `(n,)` each."""
        before, at = standing(episodes, ago=1), standing(episodes)
        return self.edges[before, at], at == GOAL

    def arrived(self, episodes: Episodes) -> BoolArray:
        """Return whether a walk has come to the goal, `(n,)`."""
        edge, goal = self.step(episodes)
        return edge & goal


def standing(episodes: Episodes, ago: int = 0) -> IntArray:
    """The node where each walk stands, or stood some steps ago, `(n,)`: all that matters for what is to come."""
    column = episodes.max_prompt - 1 + episodes.length - ago  # the start is the prompt's only token
    stood: IntArray = episodes.tokens[np.arange(len(episodes)), column].astype(np.int64)
    return stood


@dataclass(frozen=True)
class WalkEnd:
    """Ends at the goal, and with a step that is no edge."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n,)` bool."""
        edge, goal = self.walk.step(episodes)
        return ~edge | goal


@dataclass(frozen=True)
class Optimality:
    """How short a walk to the goal is: 1 for the shortest, 0 for one of the most nodes and one that does not arrive."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        spared = self.walk.max_length - (episodes.length + 1)
        most = self.walk.max_length - self.walk.shortest[episodes.prompt[:, 0]]
        return np.where(self.walk.arrived(episodes), spared / np.maximum(most, 1), 0.0)


@dataclass(frozen=True)
class ShortestWalk:
    """Whether a walk arrived by as few nodes as there are."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n,)` bool."""
        few: BoolArray = episodes.length + 1 == self.walk.shortest[episodes.prompt[:, 0]]
        return few & self.walk.arrived(episodes)


@dataclass(frozen=True)
class Edges:
    """The nodes that an edge leads to."""

    walk: Walk

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n, nodes)` bool."""
        return self.walk.edges.take(standing(episodes), axis=0, mode="clip")  # pads stand where no walk has begun
