"""Attaching programs to devices and detaching them, with what goes with it: clsact, XDP, forwarding switches.

The law of this file: it acts on devices and notes in the state what it did. It knows no maps and no sessions.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from algate.alg.errors import AlgateError
from algate.alg.gateway import forwarding6, hooks, netlink, ownership, rtnetlink
from algate.alg.gateway.hooks import Placed
from algate.alg.gateway.netlink import EGRESS, INGRESS, Device
from algate.alg.gateway.ownership import Owner, Owners
from algate.alg.gateway.state import DeviceState, State

# Native XDP costs these kinds their GSO or GRO, which is worth more than the faster path (BCC-NOTES).
WITHOUT_NATIVE_XDP = ("veth", "tun", "bridge", "vlan", "ppp", "bond", "macvlan", "ipvlan", "dummy", "wireguard")
FORWARDING = "forwarding"


def need_device(name: str) -> Device:
    """The device, or an AlgateError that names the nearest right one."""
    device = netlink.find_device(name)
    if device is not None:
        return device
    names = netlink.device_names()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(names))}"
    raise AlgateError(f"no device {name}{hint}")


def choose_mode(wanted: str, device: Device) -> tuple[str, str]:
    """("tc", "xdp" or "xdp-generic", why) for one device."""
    if device.bare:
        return "tc", "it has no Ethernet header, which the XDP programs expect"
    if wanted != "auto":
        return wanted, "as configured"
    if device.kind in WITHOUT_NATIVE_XDP:
        return "tc", f"native XDP on {device.kind or 'this device'} would cost GSO and GRO"
    driver = Path(f"/sys/class/net/{device.name}/device/driver")
    if driver.exists() and driver.resolve().name == "virtio_net":
        return "tc", "native XDP on virtio would cost GSO and GRO"
    return "tc", "native XDP isn't known to pay on this driver: force it with --datapath xdp"


class Datapath:
    """The programs attached for one gateway. `placed`: where each is, as (device, hook) -> program."""

    def __init__(self, state: State, wanted: str, six: bool = False) -> None:
        self.state = state
        self.wanted = wanted
        self.six = six
        self._chosen: dict[str, tuple[str, str]] = {}
        self.placed: dict[tuple[str, str], Placed] = {}

    @property
    def modes(self) -> dict[str, tuple[str, str]]:
        """Device -> how packets are taken from it, and why that way."""
        return {
            name: (way, f"{why}; in front of its filter by tcx" if (name, "front") in self.placed else why)
            for name, (way, why) in self._chosen.items()
        }

    def attach(
        self, lans: list[Device], wan: Device, fds: Mapping[str, int], guarded: Callable[[], None] = lambda: None
    ) -> None:
        """Attach, or replace in place what an earlier run left. After an error nothing new stays. `guarded` is called
        when nothing untranslated can leave by the WAN any more, before a LAN gets its programs."""
        fresh = [one.name for one in (*lans, wan) if one.name not in self.state.devices]
        try:
            self._drop_foreign(lans, wan)
            # The WAN first: what comes from inside before that must not leave by it as it is.
            self._attach_one(wan, "wan", fds)
            guarded()
            for device in lans:
                self._attach_one(device, "lan", fds)
            if self.six:
                forwarding6.switch_on(self.state, wan)
        except AlgateError:
            for name in fresh:
                self._detach_one(self.state.devices.pop(name, None))
            self.state.save()
            raise

    def attach_tap(self, name: str, index: int, fds: Mapping[str, int]) -> None:
        """Attach to the helper's device, which vanishes with the helper: nothing to note."""
        netlink.add_clsact(index)
        program = hooks.put_filter(index, INGRESS, fds["tc_tap"], "tc_tap")
        for key in [key for key, one in self.placed.items() if one.program == "tc_tap"]:
            del self.placed[key]
        self._place(Placed(name, index, "tc_tap", "filter", program))

    def put_back(self, one: Placed, fds: Mapping[str, int]) -> None:
        """Attach again what somebody took off, as it was."""
        fd, note = fds[one.program], self.state.devices.get(one.device)
        if one.way == "filter":
            made = netlink.add_clsact(one.index)
            hooks.put_filter(one.index, one.hook, fd, one.program, self._behind(one))
            if made and note and not note.clsact:
                note.clsact = True
                self.state.save()
        elif one.way in hooks.OWN_HOOKS:
            hooks.remove(one.index, one.hook, one.id)  # if it is there in another place than it should be
            hooks.put(one.index, one.hook, fd, one.program, None)
        elif note:
            netlink.set_xdp(one.index, fd, note.xdp == "generic", replace=False)

    def unsettled(self) -> list[Placed]:
        """The ingress filters that have something in front of them and may not, or the other way round."""
        filters = [one for one in tuple(self.placed.values()) if one.program in hooks.FRONT]
        return [one for one in filters if hooks.may_front(one.index) != self._behind(one)]

    def settle(self, one: Placed, fds: Mapping[str, int]) -> bool:
        """Put something in front of a filter where it may be, or take it off; whether there is."""
        if note := self.state.devices.get(one.device):
            self._attach_ingress(one.device, one.index, note, one.program, fds)
        return self._behind(one)

    def detach(self) -> None:
        """Detach everything that the state names."""
        for one in self.state.devices.values():
            self._detach_one(one)
        forwarding6.put_back(self.state)
        self.state.devices.clear()
        self.placed.clear()
        self.state.forget()

    def _place(self, one: Placed) -> None:
        self.placed[one.device, one.way if one.way in ("xdp", "front") else hooks.WORDS[one.hook]] = one

    def _behind(self, one: Placed) -> bool:
        """Whether an ingress filter has something in front of it."""
        return one.program in hooks.FRONT and (one.device, "front") in self.placed

    def _drop_foreign(self, lans: list[Device], wan: Device) -> None:
        """Detach from devices of an earlier run that this one doesn't use, or that were recreated with the old name."""
        used = {device.name: device.index for device in (*lans, wan)}
        for name, one in list(self.state.devices.items()):
            if used.get(name) != one.index:
                self._detach_one(one)
                del self.state.devices[name]
        for key in [key for key, one in self.placed.items() if one.index not in used.values() and key[0] in used]:
            del self.placed[key]
        self.state.save()

    def _attach_one(self, device: Device, role: str, fds: Mapping[str, int]) -> None:
        note = self.state.devices.get(device.name)
        if note is None:
            note = self._found(device, role)
            self.state.devices[device.name] = note
            self.state.save()
        if netlink.add_clsact(device.index):
            note.clsact = True
            self.state.save()
        if role == "wan":
            self._attach_egress(device, note, fds["tc_wan_out"])
        else:
            self._clear_egress(device, note)
        self._attach_ingress(device.name, device.index, note, "tc_wan_in" if role == "wan" else "tc_lan", fds)
        self._attach_xdp(device, note, "xdp_wan" if role == "wan" else "xdp_lan", fds)
        if note.forwarding != "1":
            netlink.write_sysctl(device.name, FORWARDING, "1")
        note.role = role

    def _found(self, device: Device, role: str) -> DeviceState:
        """A note of a device that the state doesn't name. Programs of ours may be on it all the same, from a run whose
        state was lost: then the clsact is taken for ours, and what the switch was before isn't known."""
        found = ownership.search(Owners(self.state.path.parent), [device.index])
        if any(one.owner is Owner.OTHER for one in found):
            raise AlgateError(f"{device.name} is used by another instance of algate: give it another device")
        if any(one.owner is Owner.UNKNOWN for one in found):
            raise AlgateError(
                f"{device.name} has programs of algate's, and whose can't be seen without CAP_SYS_ADMIN:"
                f" `algate down --run-dir {self.state.path.parent}` takes them off"
            )
        note = DeviceState(device.name, device.index, role, clsact=any(one.way == "filter" for one in found))
        note.forwarding = netlink.read_sysctl(device.name, FORWARDING) if not found else None
        note.tcx = next((one.id for one in found if one.way == "tcx"), 0)
        note.front = next((one.id for one in found if one.way == "front"), 0)
        if any(one.way == "xdp" for one in found):
            note.xdp = "generic" if rtnetlink.xdp(device.name)[1] else "native"
        return note

    def _attach_ingress(self, device: str, index: int, note: DeviceState, name: str, fds: Mapping[str, int]) -> None:
        """The filter, and what stands in front of it. Neither is there without knowing of the other: a packet that both
        have had is counted twice."""
        fronted, front = hooks.may_front(index), hooks.FRONT[name]
        if not fronted:
            self._clear_front(device, index, note)
        program = hooks.put_filter(index, INGRESS, fds[name], name, fronted)
        self._place(Placed(device, index, name, "filter", program))
        if fronted:
            note.front = hooks.put(index, INGRESS, fds[front], front, note.front)
            self.state.save()
            self._place(Placed(device, index, front, "front", note.front))

    def _clear_front(self, device: str, index: int, note: DeviceState) -> None:
        if note.front:
            hooks.remove(index, INGRESS, note.front)
            note.front = 0
            self.state.save()
        self.placed.pop((device, "front"), None)

    def _attach_egress(self, device: Device, note: DeviceState, fd: int) -> None:
        name = "tc_wan_out"
        if not hooks.has_tcx(device.index):
            program = hooks.put_filter(device.index, EGRESS, fd, name)
            self._place(Placed(device.name, device.index, name, "filter", program, EGRESS))
            return
        note.tcx = hooks.put(device.index, EGRESS, fd, name, note.tcx)
        self.state.save()
        netlink.remove_filter(device.index, EGRESS)  # an earlier version's
        self._place(Placed(device.name, device.index, name, "tcx", note.tcx, EGRESS))

    def _clear_egress(self, device: Device, note: DeviceState) -> None:
        """What it has there from the time when it was the WAN."""
        netlink.remove_filter(device.index, EGRESS)
        if note.tcx:
            hooks.remove(device.index, EGRESS, note.tcx)
            note.tcx = 0
        self.placed.pop((device.name, hooks.WORDS[EGRESS]), None)

    def _attach_xdp(self, device: Device, note: DeviceState, name: str, fds: Mapping[str, int]) -> None:
        mode, why = choose_mode(self.wanted, device)
        self._chosen[device.name] = (mode, why)
        kind = {"xdp": "native", "xdp-generic": "generic"}.get(mode, "")
        if note.xdp and note.xdp != kind:
            netlink.remove_xdp(device.index, note.xdp == "generic")
            note.xdp = ""
        if kind:
            program = netlink.set_xdp(device.index, fds[name], kind == "generic", replace=bool(note.xdp))
            note.xdp = kind
            self._place(Placed(device.name, device.index, name, "xdp", program))
        else:
            self.placed.pop((device.name, "xdp"), None)
        self.state.save()

    def _detach_one(self, note: DeviceState | None) -> None:
        """Undo what the note says, whatever the device is called now; one that is gone took everything with it."""
        name = netlink.device_indices().get(note.index) if note else None
        if note is None or name is None:
            return
        for hook, program in ((INGRESS, note.front), (EGRESS, note.tcx)):
            if program:
                hooks.remove(note.index, hook, program)
            netlink.remove_filter(note.index, hook)
        if note.xdp:
            netlink.remove_xdp(note.index, note.xdp == "generic")
        if note.clsact:
            netlink.remove_clsact(note.index)
        if note.forwarding is not None and note.forwarding != "1":
            netlink.write_sysctl(name, FORWARDING, note.forwarding)
