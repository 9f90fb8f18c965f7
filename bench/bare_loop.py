"""The yardstick of runs: a bare LangGraph loop with the nodes of the product and its five interrupts.

The state has the size of the product's, the model is the same stub, and checkpoints are written with
`durability="sync"`. `python -m bench.bare_loop DSN` reads lines of JSON, `{"runs": 64, "at_once": 16}`, and answers
each with the seconds that it took.
"""

import asyncio
import json
import operator
import os
import sys
import time
from itertools import pairwise
from typing import Annotated, Any
from uuid import uuid4

import uvloop
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send, interrupt
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from typing_extensions import TypedDict

from bench.stubs import IDEAS, StubModel

BRIEF = "A quiet film about rain on a roof at dusk"
MODEL = StubModel()


class State(TypedDict, total=False):
    """The channels of a run."""

    brief: str
    ideas: dict[str, Any]
    decisions: Annotated[dict[str, Any], operator.or_]
    shots: dict[str, Any]
    ordered: list[int]
    clips: dict[str, Any]
    render_key: str
    film: dict[str, Any]
    caption: dict[str, Any]
    publication: dict[str, Any]


async def _ask(schema: str) -> dict[str, Any]:
    bound = MODEL.bind(response_format={"json_schema": {"name": schema}})
    answer: dict[str, Any] = json.loads(str((await bound.ainvoke(BRIEF)).text))
    return answer


async def supervisor(state: State) -> State:
    """Screen the brief."""
    await _ask("Screening")
    return {}


async def ideator(state: State) -> State:
    """Write the ideas."""
    return {"ideas": {**await _ask("Ideas"), "make": [1, 2, 3], "model": "stub", "seconds": 4}}


async def ideation_gate(state: State) -> State:
    """Wait for the approval of the ideas."""
    return {"decisions": {"ideation": interrupt({"gate": "ideation", "content": state["ideas"]})}}


async def plan_clips(state: State) -> State:
    """Plan the clips."""
    shots = {str(n): {"prompt": f"{idea['scene']} ({uuid4()})"} for n, idea in enumerate(IDEAS, start=1)}
    return {"shots": shots, "ordered": [1, 2, 3]}


def send_orders(state: State) -> list[Send]:
    """Return one task for each clip."""
    return [Send("order_clip", state["shots"][str(number)]) for number in state["ordered"]]


async def order_clip(shot: dict[str, Any]) -> State:
    """Order one clip."""
    return {}


async def await_clips(state: State) -> State:
    """Wait for the clips."""
    interrupt({"waiting_for": "clips", "orders": list(state["shots"])})
    return {"clips": {number: {"take": 1, "digest": uuid4().hex * 2} for number in state["shots"]}}


async def order_render(state: State) -> State:
    """Order the film."""
    return {"render_key": str(uuid4())}


async def await_render(state: State) -> State:
    """Wait for the film."""
    interrupt({"waiting_for": "render", "orders": [state["render_key"]]})
    return {"film": {"digest": uuid4().hex * 2, "seconds": 11.0}}


async def write_caption(state: State) -> State:
    """Write the caption."""
    return {"caption": await _ask("Caption")}


async def publish_gate(state: State) -> State:
    """Wait for the approval of the film."""
    return {"decisions": {"publish": interrupt({"gate": "publish", "content": [state["film"], state["caption"]]})}}


async def order_publication(state: State) -> State:
    """Order the publication."""
    return {}


async def await_publication(state: State) -> State:
    """Wait for the publication."""
    return {"publication": interrupt({"waiting_for": "publication", "orders": ["publication"]})}


def build() -> StateGraph[State, None, State, State]:
    """Return the graph."""
    graph = StateGraph(State)
    before = [supervisor, ideator, ideation_gate, plan_clips]
    after = [await_clips, order_render, await_render, write_caption, publish_gate, order_publication, await_publication]
    nodes: list[Any] = [*before, order_clip, *after]
    for node in nodes:
        graph.add_node(node.__name__, node)
    names = [START, *(node.__name__ for node in before)]
    for source, target in pairwise(names):
        graph.add_edge(source, target)
    graph.add_conditional_edges("plan_clips", send_orders, ["order_clip"])
    names = ["order_clip", *(node.__name__ for node in after), END]
    for source, target in pairwise(names):
        graph.add_edge(source, target)
    return graph


async def run_once(graph: CompiledStateGraph[State], pool: Any) -> None:
    """Run one thread from its brief through its five interrupts to its end."""
    # One saver serialises its callers, so each run has its own, as in the product.
    own = graph.copy({"checkpointer": AsyncPostgresSaver(pool)})
    config: RunnableConfig = {"configurable": {"thread_id": str(uuid4())}}
    step: Any = {"brief": BRIEF}
    for _ in range(6):
        await own.ainvoke(step, config, durability="sync")
        step = Command(resume={"verdict": "approve", "number": 1})


async def main(dsn: str) -> None:
    """Serve commands until standard input ends."""
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        dsn,
        min_size=2,
        max_size=20,
        open=False,
        kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0},
    )
    async with pool:
        await AsyncPostgresSaver(pool).setup()
        graph = build().compile()
        _print({"url": "", "pid": os.getpid()})
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            slots = asyncio.Semaphore(request["at_once"])

            async def run_in_slot(slots: asyncio.Semaphore = slots) -> None:
                async with slots:
                    await run_once(graph, pool)

            started = time.perf_counter()
            await asyncio.gather(*(run_in_slot() for _ in range(request["runs"])))
            _print({"seconds": time.perf_counter() - started})


def _print(line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
