"""A stand-in for TouchDesigner, which cannot run here.

    with TouchDesigner(folder) as touch:      # `import td` finds it; one at a time
        comp = touch.project1.create("baseCOMP", "mine")
        touch.look_at(comp.op("out1"))        # somebody looks, so it cooks
        touch.play(60)                        # frames; play_until(condition) waits for one
        touch.component_times[-1].cpu_ms      # what the component's own code took
        touch.open(touch.saved())             # the project is opened again
    # leaving quits (onExit) and raises if a script failed and nobody called take_failures()

It refuses what TouchDesigner would refuse (tdError), and raises NotModelled where it would have to
guess. plugins/touchdesigner/typings/td is its API in types; test_signatures.py compares the two.

What is modelled, and the pages on docs.derivative.ca it was written from (builds of 2025):

    module td                    Td_Module, Run_Command_Examples, Run_Class
    OP, paths, flags, errors     OP_Class, Network_Path, Pattern_Matching, Storage, Cook
    wires                        Connector_Class, In_TOP, Out_TOP
    COMP, .tox, embedded files   COMP_Class, Base_COMP, VFS_Class, VFSFile_Class
    extensions                   Extensions, COMP_Extensions_Page
    parameters                   Par_Class, ParGroup_Class, ParCollection_Class, Page_Class,
                                 Custom_Parameters, Parameter_Mode, Binding
    DATs                         DAT_Class, Cell_Class, Text_DAT, Execute_DAT, ExecuteDAT_Class,
                                 Parameter_Execute_DAT, ParameterexecuteDAT_Class
    TOPs                         TOP, TOP_Class, ScriptTOP_Class, Script_TOP, Switch_TOP, Over_TOP,
                                 Text_TOP, Constant_TOP, CUDAMemory_Class, CUDAMemoryShape_Class
    CHOPs                        CHOP_Class, ScriptCHOP_Class, Script_CHOP, Channel_Class
    project, application         Project_Class, App_Class, AbsTime_Class, Licenses_Class, UI_Class

What the pages leave open, and the reading chosen: the one that is hardest on the component.

    cook-time    Nothing cooks unless looked at, read, or forced. "Outside the callback may cause
                 unexpected results" (ScriptTOP_Class): copy* outside of onCook is refused unless
                 Modify Outside of Cook is on.
    arrays       Row 0 is the bottom row (TOP_FirstPixel in the C++ API; no page says it of NumPy).
                 Only C-contiguous arrays are taken. A download is read-only unless writable, and
                 belongs to the caller. One component is grey; a missing alpha is full.
    CUDA         Host memory plays the GPU's; no streams. uint8, uint16 and float32 only:
                 TouchDesigner 2025 refused rgba16float in the field. Bottom row first, as above.
    licences     Non-Commercial "is limited to 1280x1280" (TOP), and licenses.isNonCommercial tells
                 of it (Licenses_Class). No page says what happens beyond: copy* refuses it, and
                 what TouchDesigner makes itself shrinks.
    names        A wrong parameter name raises; a page name is taken once; an operator's name in
                 use becomes the next numbered one.
    values       A menu refuses unknown names. Numbers take Python numbers only. Setting `val` ends
                 expression and export; of a bound one it sets the master (Binding). bindExpr alone
                 does not change the mode.
    watching     onValueChange "is called once each frame": after onFrameStart of the next frame,
                 whoever made the change, also for expressions, exports and binds. Pulses come one
                 by one, before. Toggles other than Active are off until they are set.
                 The page's own template has (par, val, prev), later builds (par, prev): the latter.
    Execute DAT  onCreate and create (both spellings are about), onProjectPreSave and
                 onProjectPostSave (not on the archived page, but in every template of 2023).
                 onPlayStateChange(True) means that it plays; the archived page says the reverse.
                 A paused timeline stops absTime, not the frames; the power button stops all.
                 The other Execute DATs go by names within the whole project.
    extensions   Made at first use, again at the first use after their code or parameters changed.
                 onDestroyTD: before the new one (Extensions), and inside destroy() with the
                 component standing (on no page; measured by others on 2025.33070); on a build from
                 before it never (has_on_destroy=False; no page says which).
                 Opening another project destroys the old network; the end of the process calls
                 onExit and no onDestroyTD. Use while one begins or ends raises; there it may hang.
    storage      Saved with the operator; what cannot be pickled has to have a startup value.
    paths        `op('..')` in a DAT is its parent, as all examples have it; `op('../x')` in a DAT
                 is read two ways, so it raises NotModelled.
    threads      Every use off the main thread raises. TouchDesigner may crash instead.
    failures     A script that raises becomes a script error on its operator; the frame goes on.
    pictures     Text TOPs draw no letters, Movie File In TOPs read no file (touch.show), the Switch
                 TOP does not blend, the Over TOP takes two pictures of one size.
"""

from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.running import Failure
from tests.fake_td.session import TouchDesigner

__all__ = ["Failure", "NotModelled", "TouchDesigner", "tdError"]
