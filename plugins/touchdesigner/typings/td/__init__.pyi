"""TouchDesigner's module `td`, as far as the component uses it (Td_Module).

Written from Derivative's documentation (docs.derivative.ca, builds of 2025); the page of each class
stands beside it. Names are Derivative's. tests/fake_td implements the same names for tests, and
tests/fake_td/test_signatures.py compares the two.
"""

from td._comps import COMP as COMP
from td._comps import VFS as VFS
from td._comps import VFSFile as VFSFile
from td._comps import baseCOMP as baseCOMP
from td._comps import containerCOMP as containerCOMP
from td._comps import timeCOMP as timeCOMP
from td._images import TOP as TOP
from td._images import CUDAMemory as CUDAMemory
from td._images import CUDAMemoryShape as CUDAMemoryShape
from td._images import constantTOP as constantTOP
from td._images import inTOP as inTOP
from td._images import moviefileinTOP as moviefileinTOP
from td._images import nullTOP as nullTOP
from td._images import outTOP as outTOP
from td._images import overTOP as overTOP
from td._images import scriptTOP as scriptTOP
from td._images import selectTOP as selectTOP
from td._images import switchTOP as switchTOP
from td._images import textTOP as textTOP
from td._op import MOD as MOD
from td._op import OP as OP
from td._op import Connector as Connector
from td._op import Ext as Ext
from td._op import OPEXShortcut as OPEXShortcut
from td._op import OPShortcut as OPShortcut
from td._op import ParentShortcut as ParentShortcut
from td._pars import Page as Page
from td._pars import Par as Par
from td._pars import ParCollection as ParCollection
from td._pars import ParGroup as ParGroup
from td._pars import ParGroupCollection as ParGroupCollection
from td._pars import ParMode as ParMode
from td._session import UI as UI
from td._session import AbsTime as AbsTime
from td._session import App as App
from td._session import Change as Change
from td._session import CookLevel as CookLevel
from td._session import License as License
from td._session import Licenses as Licenses
from td._session import Project as Project
from td._session import Run as Run
from td._session import tdError as tdError
from td._tables import CHOP as CHOP
from td._tables import DAT as DAT
from td._tables import Cell as Cell
from td._tables import Channel as Channel
from td._tables import constantCHOP as constantCHOP
from td._tables import executeDAT as executeDAT
from td._tables import inCHOP as inCHOP
from td._tables import infoCHOP as infoCHOP
from td._tables import nullCHOP as nullCHOP
from td._tables import nullDAT as nullDAT
from td._tables import outCHOP as outCHOP
from td._tables import outDAT as outDAT
from td._tables import parameterexecuteDAT as parameterexecuteDAT
from td._tables import scriptCHOP as scriptCHOP
from td._tables import tableDAT as tableDAT
from td._tables import textDAT as textDAT

# Td_Module, members
me: OP
op: OPShortcut
opex: OPEXShortcut
parent: ParentShortcut
ext: Ext
mod: MOD
root: COMP
project: Project
app: App
absTime: AbsTime
licenses: Licenses
ui: UI

# Td_Module, methods
def ops(*patterns: str | int, includeUtility: bool = False) -> list[OP]: ...
def run(  # Run_Command_Examples
    script: str,
    *args: object,
    endFrame: bool = False,
    fromOP: OP | None = None,
    asParameter: bool = False,
    group: str | None = None,
    delayFrames: int = 0,
    delayMilliSeconds: int = 0,
    delayRef: OP | None = None,
) -> Run: ...
def debug(*args: object) -> None: ...  # as the examples on Extensions use it
