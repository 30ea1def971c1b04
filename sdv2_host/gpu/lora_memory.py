"""LoRAs that there is no memory for: refused, not the end of the stream."""

from __future__ import annotations

from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.params import Params
from sdv2_host.stream.lora import LoraMerge, LoraStep, NoLoras

NO_MEMORY = (
    "LoRA {lora}: memory ran out while it was read or merged, so it is not used ({told}); fewer "
    "LoRAs or a smaller --size make room, then ask for it once more"
)


def advanced_(lora: LoraMerge | NoLoras, params: Params) -> LoraStep:
    """`advance_`; where memory runs out on the way, the LoRAs are refused instead.

    A worker that ended would begin with the same parameters and run out of memory again. What is
    tried after that needs none, so it may end the worker.
    """
    try:
        return lora.advance_(params)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or not isinstance(lora, LoraMerge):
            raise
        lora.refuse_(NO_MEMORY.format(lora=params.lora, told=str(error).split("\n")[0]))
    return lora.advance_(params)
