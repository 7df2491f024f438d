"""The FTP plug-in in the engine, over the model of the kernel's gate: what the receivers' TCP gets."""

from __future__ import annotations

import pytest

from algate.alg.admin.build import build
from algate.alg.engine import effects as fx
from algate.alg.plugin.model import Control, Conversation
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from tests.wire import INFO, Lab

SERVER_INSIDE = INFO._replace(session_flags=fx.SESSION_FORWARD)


class FtpLab(Lab):
    """`client` and `server` are the ends by role; their ports don't matter to the machine."""

    def __init__(self, policy: FtpPolicy | None = None, info: fx.SessionInfo = INFO) -> None:
        self.policy = policy or FtpPolicy()
        super().__init__(info=info)
        inside_serves = bool(info.session_flags & fx.SESSION_FORWARD)
        self.server, self.client = self.ends if inside_serves else self.ends[::-1]

    def _open(self, control: Control) -> Conversation | None:
        return PLUGIN.open(control, self.policy)

    def talk(self, *words: bytes, size: int = 1400) -> None:
        """Server and client in turn, the server first, in segments of `size` bytes."""
        for number, data in enumerate(words):
            end = self.client if number % 2 else self.server
            end.stream += data
            while end.sent < len(end.stream):
                self.launch(end.direction, end.send(end.sent, size))
                self.run()

    @property
    def states(self) -> list[int]:
        return [expectation.state for expectation in self.kernel.expectations.values()]


@pytest.mark.parametrize("size", [1, 7, 1400])
def test_port_leaves_rewritten_and_opens_at_200(size: int) -> None:
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"230 in\r\n", b"PORT 10,0,0,5,19,137\r\nLIST\r\n", size=size)
    lab.finish()
    assert bytes(lab.server.got) == b"USER u\r\nPORT 203,0,113,1,156,64\r\nLIST\r\n"
    assert lab.states == [fx.EXPECT_PENDING]
    lab.talk(
        b"200 ok\r\n150 a\r\n226 b\r\n", b"PORT 10,0,0,5,19,138\r\n" * 3, b"200 a\r\n200 b\r\n500 c\r\n", size=size
    )
    lab.finish()
    assert lab.states == []
    assert bytes(lab.client.got).endswith(b"226 b\r\n200 a\r\n200 b\r\n500 c\r\n")
    assert bytes(lab.server.got).count(b"PORT 203,0,113,1,156,6") == 4
    lab.talk(b"", b"QUIT\r\n", b"221 bye\r\n")
    lab.finish()
    assert bytes(lab.server.got).endswith(b"QUIT\r\n") and bytes(lab.client.got).endswith(b"221 bye\r\n")


@pytest.mark.parametrize("size", [1, 1400])
def test_the_private_227_of_a_server_inside_leaves_as_the_public_one(size: int) -> None:
    lab = FtpLab(FtpPolicy(before_login=True), SERVER_INSIDE)
    lab.talk(b"220 hi\r\n", b"PASV\r\n", b"227 (10,0,0,5,19,137)\r\n", b"EPSV\r\n", b"229 (|||5001|)\r\n", size=size)
    lab.finish()
    assert bytes(lab.client.got) == b"220 hi\r\n227 (203,0,113,1,156,64)\r\n229 (|||40001|)\r\n"
    assert lab.states == [fx.EXPECT_OPEN]


def test_a_227_that_passes_goes_the_short_way_behind_its_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"230 in\r\n", b"PASV\r\n")
    lab.effects.clear()
    if build() != "compiled":  # whose classes can't be changed
        monkeypatch.setattr(lab.engine._delivery, "settle", None)
    lab.talk(b"227 (198,51,100,2,19,137)\r\n")
    found = [type(one).__name__ for one in lab.effects if not isinstance(one, fx.Announce)]
    assert found == ["PutExpectation", "PutAdjust", "PutDecision", "Inject"]
    assert lab.states == [fx.EXPECT_OPEN] and bytes(lab.client.got).endswith(b"19,137)\r\n")


@pytest.mark.parametrize("cut", [0, 9])
def test_a_helper_started_between_pasv_and_227_lets_no_private_address_out(cut: int) -> None:
    """Restarted with nothing, or with the start of the reply acknowledged in the client's name."""
    lab = FtpLab(FtpPolicy(before_login=True), SERVER_INSIDE)
    lab.talk(b"220 hi\r\n", b"PASV\r\n")
    reply = b"227 (10,0,0,5,19,137)\r\n"
    lab.talk(reply[:cut])
    lab.restart()
    lab.talk(reply[cut:])
    lab.finish()
    assert bytes(lab.client.got) == b"220 hi\r\n227 (203,0,113,1,156,64)\r\n"
    assert lab.states == [fx.EXPECT_OPEN]


def test_a_denied_command_never_arrives_and_both_streams_stay_in_step_ftp_88() -> None:
    lab = FtpLab(FtpPolicy(deny=("DELE",)))
    lab.talk(b"220 hi\r\n", b"NOOP\r\nDELE f\r\n", b"200 ok\r\n", b"PWD\r\n", b"257 /\r\n")
    lab.finish()
    assert bytes(lab.server.got) == b"NOOP\r\nPWD\r\n"
    codes = [line[:4] for line in bytes(lab.client.got).splitlines()]
    assert codes == [b"220 ", b"200 ", b"502 ", b"257 "]


def test_bytes_behind_auth_wait_and_then_pass_as_they_are_ftp_35() -> None:
    lab = FtpLab()
    hello = b"\x16\x03\x01\x00\x02\nPORT 10,0,0,5,19,137\r\n"
    lab.talk(b"220 hi\r\n", b"AUTH TLS\r\n" + hello, b"234 go\r\n")
    lab.finish()
    assert bytes(lab.server.got) == b"AUTH TLS\r\n" + hello and lab.kernel.bypassed


def test_a_long_pipeline_of_ports_is_rewritten_to_the_last() -> None:
    """More than the engine's depth of reservations in one segment; answers let the rest go on."""
    lab = FtpLab(FtpPolicy(before_login=True))
    lab.talk(b"220 hi\r\n", b"PORT 10,0,0,5,19,137\r\n" * 40)
    for _ in range(40):
        lab.talk(b"200 ok\r\n")
    lab.finish()
    assert bytes(lab.server.got).count(b"PORT 203,0,113,1,") == 40 and b"10,0,0,5" not in lab.server.got
    assert lab.states == [fx.EXPECT_OPEN] and not lab.kernel.bypassed


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        (b"200 ok\r\n", [fx.EXPECT_OPEN]),
        (b"226 of an older transfer\r\n200 ok\r\n", [fx.EXPECT_OPEN]),
        (b"226 of an older transfer\r\n", [fx.EXPECT_PENDING]),
        (b"150 on its way\r\n", [fx.EXPECT_PENDING]),
        (b"500 no\r\n", []),
    ],
)
def test_a_port_that_waits_for_its_answer_across_a_restart(answer: bytes, states: list[int]) -> None:  # FTP-61
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"230 in\r\n", b"PORT 10,0,0,5,19,137\r\n")
    lab.restart()
    lab.talk(b"", b"LIST\r\n", answer)
    lab.finish()
    assert lab.states == states
    assert bytes(lab.client.got).endswith(answer)


def test_what_was_open_before_a_restart_ends_with_the_next_port_and_with_its_time() -> None:  # FTP-61
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"230 in\r\n", b"PORT 10,0,0,5,19,137\r\n", b"200 ok\r\n")
    lab.restart()
    assert lab.states == [fx.EXPECT_OPEN]
    lab.talk(b"", b"PORT 10,0,0,5,19,138\r\n", b"200 ok\r\n")
    assert lab.states == [fx.EXPECT_OPEN]
    lab.restart()
    lab.tick(300)
    assert lab.states == []
    assert len(lab.kernel.released) == 2


def test_nothing_waits_for_a_silent_server_for_ever() -> None:
    """The engine comes back at the conversation's deadline, although no segment comes."""
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"230 in\r\n", b"AUTH TLS\r\nPORT 10,0,0,5,19,137\r\n")
    for _ in range(29):
        lab.tick(1)
    assert b"PORT" not in lab.server.got
    for _ in range(2):
        lab.tick(1)
        lab.run()
    assert bytes(lab.server.got).endswith(b"AUTH TLS\r\nPORT 203,0,113,1,156,64\r\n")
    lab.finish()
