"""An SMTP server that prints each mail as a line of JSON, as Python's own parser reads it.

How it treats a mail, the recipient says: refuse@ is refused for good, deny@ for another reason, later@ the first time only, slow@ never gets an answer,
cut@ loses the connection.

Arguments: plain, starttls or smtps; then the certificate and the key for the latter two; then user:password, if it asks.
"""

import asyncio
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

kind, *rest = sys.argv[1:]
context = None
if kind != "plain":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(rest.pop(0), rest.pop(0))
login = rest.pop(0).encode().split(b":") if rest else None


def say(what):
    print(json.dumps(what), flush=True)


class Handler:
    seen = set()

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda form: mail.get_body((form,)).get_content()
        id, to = mail["message-id"], envelope.rcpt_tos[0]
        name = to.split("@")[0]
        if name == "refuse":
            return "550 5.1.1 no such mailbox"
        if name == "deny":
            return "550 5.7.1 relaying denied"
        if name == "slow":
            await asyncio.sleep(3600)
        if name == "cut":
            server.transport.abort()
            return "421 cut"
        if name == "later" and id not in self.seen:
            self.seen.add(id)
            return "451 not now"
        headers = [[name, str(value)] for name, value in mail.items()]
        say({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "headers": headers, "subject": mail["subject"],
            "text": part("plain"), "html": part("html"), "tls": server.transport.get_extra_info("ssl_object") is not None,
            "login": session.authenticated, "defects": [str(defect) for defect in mail.defects],
            "hello": session.host_name,
        })
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    # Not handled: the server answers by itself.
    return AuthResult(success=[data.login, data.password] == login, handled=False)


def protocol():
    return SMTP(
        Handler(), hostname="sink", require_starttls=kind == "starttls", tls_context=context if kind == "starttls" else None,
        auth_required=login is not None, auth_require_tls=kind == "starttls", authenticator=authenticate if login else None,
    )


async def main():
    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", 0, ssl=context if kind == "smtps" else None
    )
    say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
