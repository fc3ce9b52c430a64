"""Runs the cases against a server, or against whatever client comes.

    fuzz.py client <verdicts.tsv> <url> <parallel> [case …]
    fuzz.py server <verdicts.tsv> [case …]

Without cases it runs all of them. The server prints `listening <port>` and is spoken to as the suite's own: `/getCaseCount`,
`/runCase?case=N&agent=A`, `/updateReports`. It writes the verdicts after the last.

A line of verdicts is `case<TAB>behaviour/closing behaviour`, in the suite's words.
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

import txaio

txaio.use_twisted()
# Exceptions within a case would go unseen otherwise.
txaio.start_logging(out=sys.stderr, level="error")

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.internet import reactor

import cases
from cases import raw

CASES = cases.load()
IDS = list(CASES)


class Fuzz:
    """What a case may ask of its connection; mixed into Autobahn's protocols."""

    case_id = None
    case = None
    connectionWasOpen = False
    trafficStats = None
    createWirelog = False
    # The payload of a ping that came at a bad time.
    owed = None

    def begin(self, case_id):
        self.case_id = case_id
        self.txFrameStats = {}
        self.case = CASES[case_id](self)

    def enableWirelog(self, _):
        pass

    def continueLater(self, delay, function, tag=None):
        self.later(delay, function)

    def killAfter(self, delay):
        self.later(delay, self._fail_connection)

    def closeAfter(self, delay):
        self.later(delay, self.sendClose)

    def later(self, delay, function):
        reactor.callLater(delay, lambda: self.state == self.STATE_CLOSED or function())

    def logTxFrame(self, frameHeader, payload, repeatLength, chopsize, sync):
        opcode = frameHeader.opcode
        if self.case:
            self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1

    def logRxFrame(self, frameHeader, payload):
        pass

    def sendFrame(self, opcode, payload=b"", **rest):
        super().sendFrame(opcode, raw(payload), **rest)

    def sendMessage(self, payload, *args, **rest):
        super().sendMessage(raw(payload), *args, **rest)

    def sendMessageFrameData(self, payload, *args, **rest):
        rest_of_frame = super().sendMessageFrameData(raw(payload), *args, **rest)
        if self.send_state != self.SEND_STATE_INSIDE_MESSAGE_FRAME and self.owed is not None:
            super().onPing(self.owed)
            self.owed = None
        return rest_of_frame

    def onPing(self, payload):
        """Autobahn by itself puts the pong into the middle of the frame that a case is sending."""
        if self.send_state == self.SEND_STATE_INSIDE_MESSAGE_FRAME:
            self.owed = payload
        else:
            super().onPing(payload)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        reason = None if reasonUtf8 is None else raw(reasonUtf8)
        super().sendCloseFrame(code, reason, isReply)

    def onOpen(self):
        self.connectionWasOpen = True
        if self.case:
            self.case.onOpen()

    def onMessage(self, payload, isBinary):
        if self.case:
            self.case.onMessage(self.as_case_wants(payload), isBinary)

    def onPong(self, payload):
        if self.case:
            self.case.onPong(self.as_case_wants(payload))

    def onClose(self, wasClean, code, reason):
        if self.case:
            self.case.onClose(wasClean, code, reason)

    def as_case_wants(self, payload):
        return payload if self.case.IN_BYTES else payload.decode("latin-1")

    def connectionLost(self, reason):
        super().connectionLost(reason)
        if self.case:
            self.case.onConnectionLost(self.failedByMe)
            self.factory.verdicts[self.case_id] = f"{self.case.behavior}/{self.case.behaviorClose}"
            if "FAILED" in self.factory.verdicts[self.case_id]:
                print(self.case_id, self.case.result, self.case.resultClose, file=sys.stderr)


def configure(factory, verdicts):
    """Like the suite does it; the waits alone are longer, for machines that are busy."""
    factory.verdicts = verdicts
    factory.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=5, openHandshakeTimeout=10)
    factory.logFrames = True


def write(verdicts, path):
    with open(path, "w") as out:
        for case_id in IDS:
            out.write(f"{case_id}\t{verdicts.get(case_id, 'NOT RUN/NOT RUN')}\n")


class ClientProtocol(Fuzz, WebSocketClientProtocol):
    def connectionMade(self):
        self.begin(self.factory.case_id)
        super().connectionMade()


class Client:
    """Keeps some cases running until all have been."""

    def __init__(self, url, parallel, path):
        self.url, self.path = url, path
        self.waiting = list(IDS)
        self.running = 0
        self.verdicts = {}
        for _ in range(parallel):
            self.next()

    def next(self):
        if self.waiting:
            self.running += 1
            self.run(self.waiting.pop(0))
        elif not self.running:
            write(self.verdicts, self.path)
            reactor.stop()

    def run(self, case_id):
        factory = WebSocketClientFactory(self.url)
        configure(factory, self.verdicts)
        factory.setProtocolOptions(serverConnectionDropTimeout=5)
        factory.protocol = ClientProtocol
        factory.case_id = case_id
        factory.noisy = False
        factory.clientConnectionLost = factory.clientConnectionFailed = self.ended
        reactor.connectTCP(factory.host, factory.port, factory)

    def ended(self, connector, reason):
        self.running -= 1
        self.next()


class ServerProtocol(Fuzz, WebSocketServerProtocol):
    def onConnect(self, request):
        self.path = request.path
        if request.path == "/runCase":
            self.begin(IDS[int(request.params["case"][0]) - 1])

    def onOpen(self):
        if self.path == "/getCaseCount":
            self.sendMessage(json.dumps(len(IDS)))
            self.sendClose()
        elif self.path == "/updateReports":
            write(self.factory.verdicts, self.factory.report)
            self.sendClose()
        else:
            super().onOpen()


def serve(path):
    factory = WebSocketServerFactory()
    configure(factory, {})
    factory.protocol = ServerProtocol
    factory.report = path
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    # Past the logger, which takes standard output for itself.
    print(f"listening 127.0.0.1:{port.getHost().port}", file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    role, path, *rest = sys.argv[1:]
    if role == "client":
        url, parallel, *rest = rest
        reactor.callWhenRunning(Client, url, int(parallel), path)
    else:
        serve(path)
    IDS = rest or IDS
    reactor.run()
