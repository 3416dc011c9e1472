"""A mail server to test against: aiosmtpd, with a temper that depends on whom the mail is for.

Prints one JSON object a line. The first is {"ready": true, "port": ..., "ca": PEM or null}; every message that was
received in full is one more, also those that are then refused or never answered. Ends when its standard input does, so
that it cannot outlive the test that started it.

Before the @:  anything else  accepted
               later          451 to RCPT            bounce   550 5.1.1 to RCPT
               full           552 5.2.2 to RCPT      policy   550 5.7.1 to RCPT
               cut            closes at RCPT         halfway  354, reads a little, resets the connection
               late           451 after the dot      reject   554 5.6.0 after the dot
               drop           closes after the dot   reset    resets the connection after the dot
               slow           answers the dot after --slow seconds
"""

import argparse
import asyncio
import base64
import json
import logging
import ssl
import sys
import warnings

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

RCPT_ANSWERS = {
    "later": "451 4.3.0 try again later",
    "bounce": "550 5.1.1 no such user here",
    "full": "552 5.2.2 mailbox full",
    "policy": "550 5.7.1 message looks like spam",
}
DATA_ANSWERS = {"late": "451 4.3.0 queue is full", "reject": "554 5.6.0 not in this form"}


def say(**what):
    print(json.dumps(what), flush=True)


class Temper:
    def __init__(self, slow):
        self.slow = slow
        self.connections = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        temper = address.split("@")[0]
        if temper == "cut":
            server.transport.close()
            return "250 never heard"
        if temper in RCPT_ANSWERS:
            return RCPT_ANSWERS[temper]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        temper = envelope.rcpt_tos[0].split("@")[0]
        say(
            **{"from": envelope.mail_from, "to": envelope.rcpt_tos, "options": envelope.mail_options},
            data=base64.b64encode(envelope.content).decode(),
            tls=session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            login=session.auth_data and session.auth_data.login.decode(),
            connection=id(server),
        )
        if temper == "slow":
            await asyncio.sleep(self.slow)
        if temper == "drop":
            server.transport.close()
        if temper == "reset":
            server.transport.abort()
        return DATA_ANSWERS.get(temper, "250 2.0.0 queued as 4711")


class Server(SMTP):
    async def smtp_DATA(self, arg):
        if self.envelope and self.envelope.rcpt_tos and self.envelope.rcpt_tos[0].startswith("halfway@"):
            await self.push("354 go on")
            await self._reader.read(100)
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


async def main():
    options = argparse.ArgumentParser()
    options.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
    options.add_argument("--login", help="user:password, then required")
    options.add_argument("--ascii", action="store_true", help="no SMTPUTF8")
    options.add_argument("--slow", type=float, default=3)
    options = options.parse_args()

    context, ca = None, None
    if options.tls != "none":
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        ca = authority.cert_pem.bytes().decode()

    def authenticate(server, session, envelope, mechanism, data):
        given = f"{data.login.decode()}:{data.password.decode()}"
        # "Not handled" leaves the 535 to aiosmtpd.
        return AuthResult(success=given == options.login, handled=False, auth_data=data)

    # Broken connections are the purpose here, not news.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    loop = asyncio.get_running_loop()
    temper = Temper(options.slow)

    def serve():
        return Server(
            temper,
            hostname="sink.example",
            enable_SMTPUTF8=not options.ascii,
            tls_context=context if options.tls == "starttls" else None,
            require_starttls=options.tls == "starttls",
            auth_required=options.login is not None,
            # aiosmtpd counts only STARTTLS as encrypted.
            auth_require_tls=options.tls == "starttls",
            authenticator=authenticate,
            loop=loop,
        )

    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=context if options.tls == "implicit" else None)
    say(ready=True, port=server.sockets[0].getsockname()[1], ca=ca)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
