"""Dialogues made from what people reported in public of FTP servers and clients, in few words of our own.

The law of this file: data. `> ` the client, `< ` the server, `|` the end of a line; `{c}` and `{s}` a new port of the
client's and of the server's with its own address in six numbers, `{p}` a new port alone, `{x}` one that must not open.
"""

from __future__ import annotations

from typing import NamedTuple


class Tried(NamedTuple):
    """A dialogue after the log-in, or (`greeting`) from the first line on. `outcome`: what became of it at first."""

    source: str
    text: str
    outcome: str = "yes"
    greeting: bool = False


PASV = "> PASV| < 227 Passive ({s})|"
LIST = "> LIST| < 150 a| < 226 b|"
PORT = "> PORT {c}| < 200 a|"

TRIED = (
    Tried("hfiref0x/LightFTP #1", f"> PASV| < 227 Passive (|{PASV}"),
    Tried("hfiref0x/LightFTP #23", f"> LIST| < 150 a| < 451 b|{PASV}{PORT}{LIST}"),
    Tried("mushorg/conpot #625: 200 as the greeting", f"< 200 hi| > USER u| < 331 a| > PASS p| < 230 b|{PORT}{PASV}",
          greeting=True),
    Tried("mushorg/conpot #573: replies of the last transfer arrive with the next command",
          f"> PORT {{c}}| < 226 b| < 200 a| > LIST| < 150 a|{PORT}> LIST| < 226 b| < 150 a| < 226 b|{PASV}", "mended"),
    Tried("patrickjuchli/basic-ftp #157: CWD answered twice",
          "> CWD a| < 200 ok| > CWD b| < 250 ok| > PASV| < 250 ok| < 227 Passive ({s})|"
          "> CWD c| < 250 ok| > PORT {c}| < 250 ok| < 200 a|", "mended"),
    Tried("patrickjuchli/basic-ftp #120: OPTS answered twice", f"> OPTS MLST| < 500 no| < 500 no|{PASV}{PORT}{LIST}"),
    Tried("robinrodricks/FluentFTP #1285: the 226 answers the next command",
          "> RETR f| < 150 a| > SIZE f| < 226 b| > PASV| < 213 9| < 227 Passive ({s})|"),
    Tried("robinrodricks/FluentFTP #669: PASV while 226 is still to come",
          f"> NLST| < 150 a| > PASV| < 226 b| < 227 Passive ({{s}})|{LIST}{PORT}"),
    Tried("robinrodricks/FluentFTP #980: NOOPs answered with the next command",
          f"> RETR f| < 150 a| > NOOP| > NOOP| < 226 b| > PASV| < 200 n| < 200 n| < 227 Passive ({{s}})|"
          f"> RETR f| < 150 a| > NOOP| < 226 b| > PORT {{c}}| < 200 n| < 200 a|{LIST}"),
    Tried("robinrodricks/FluentFTP #1793: a delimiter is missing",
          f"> EPSV| < 229 Extended (||{{x}}|)|{PASV}{LIST}"),
    Tried("robinrodricks/FluentFTP #747: z/OS, a preliminary reply of two lines",
          f"> RETR J| < 125-Submitting| < 125 Unable| < 550 aborted|{PASV}{PORT}"),
    Tried("robinrodricks/FluentFTP #1242: the 226 comes with the next command",
          f"> STOR f| < 150 a| > CWD d| < 226 b| < 250 c|{PORT}{PASV}"),
    Tried("sergi/jsftp #73: TYPE before the 226",
          f"> LIST| < 150 a| > TYPE I| < 226 b| > PASV| < 200 t| < 227 Passive ({{s}})|{PORT}"),
    Tried("sergi/jsftp #62: 125 for 150", f"{PORT}> STOR f| < 125 a| < 226 b|{PASV}"),
    Tried("aio-libs/aioftp #85 #142: 227 of two lines", f"> PASV| < 227-socket| < 227 ({{s}})|{LIST}{PORT}"),
    Tried("aio-libs/aioftp #69: Serv-U, a full stop behind", f"> EPSV| < 229 Extended (|||{{p}}|).|{PASV}"),
    Tried("aio-libs/aioftp #205: ABOR without any answer", f"> RETR f| < 150 a| > ABOR|{PASV}{LIST}{PORT}", "mended"),
    Tried("humy2833/FTP-Simple #202: AS/400", f"> EPSV| < 229 Extended (!!!{{p}}!)|{PORT}"),
    Tried("aldostools/webMAN-MOD #777: EPSV answered by 202", f"> EPSV| < 202 ok|{PASV}{LIST}{PORT}{LIST}"),
    Tried("FubarDevelopment/FtpServer #20: MODE answered by 220", f"> MODE S| < 220 ok|{PORT}{PASV}"),
    Tried("yob/em-ftpd #7: STOR answered by 200", f"> STOR f| < 150 a| < 200 done|{PORT}{PASV}"),
    Tried("curl/curl #405: 150 and 426", f"{PORT}> STOR f| < 150 a| < 426 b|{PORT}{PASV}"),
    Tried("xreef/SimpleFTPServer #66, gallegojm/Arduino-Ftp-Server #6",
          f"< 220--- hi ---| < 220---   by   ---| < 220 --  v  --| > USER u| < 530 | > USER u| < 230 in|{PASV}{PORT}",
          greeting=True),
    Tried("iterate-ch/cyberduck #16622: another code's line within a reply",
          f"> CWD a| < 250-| < 550| < 250 |{PASV}> PORT {{c}}| < 200-| < 550 x| < 200 a|{LIST}{PORT}"),
    Tried("jlaffaye/ftp #17: Pure-FTPd, 226 of three lines",
          f"> STOR f| < 150 a| < 226-1| < 226-2| < 226 3|{PORT}{PASV}"),
    Tried("jedisct1/pure-ftpd #175: 227 Logout. unasked", f"> RETR f| < 150 a| < 227 Logout.| < 226 b|{PASV}{PORT}"),
    Tried("thephpleague/flysystem #1610: STOR out of sequence", f"{PASV}> NOOP| < 200 n| > STOR f| < 500 no|{PASV}"),
    Tried("cathery/sys-ftpd #7: numbers alone", f"> PASV| < 227 {{s}}|{LIST}{PORT}"),
    Tried("mattnenterprise/rust-ftp #94: PASV refused by 550", f"> PASV| < 550 no|{PORT}{LIST}"),
    Tried("secsy/goftp #1: refusals of two lines",
          f"> FEAT| < 500-FEAT?| < 500 no| > EPSV| < 500-EPSV?| < 500 no|{PASV}"),
    Tried("icetee/node-ftp #12: ABOR without a transfer", f"> ABOR| < 225 none|{PORT}> ABOR| < 226 none|{PASV}"),
    Tried("mtheall/ftpd #215: QUIT in a transfer", f"{PORT}> RETR f| < 150 a| > QUIT| < 221 bye|"),
    Tried("iterate-ch/cyberduck #16622, from the other end: a reply of several lines goes over into the next",
          f"> CWD a| < 250-x| < 250- y|{LIST}{PASV}{PORT}", "mended"),
    Tried("hestiacp/hestiacp #4591: vsftpd, 500 OOPS and 421", "> PASV| < 500 OOPS| < 421 gone|"),
)  # fmt: skip
