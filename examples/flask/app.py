"""A Flask service that authenticates its callers with Countersign.

Flask-HTTPAuth protects the routes. Its callbacks pass the credential to Countersign and use the response.
"""

import os
from dataclasses import dataclass

import requests
from flask import Flask, jsonify, request
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from werkzeug.exceptions import Forbidden, HTTPException, ServiceUnavailable, TooManyRequests

VERIFY_URL = os.environ.get("COUNTERSIGN_URL", "http://localhost:5000").rstrip("/") + "/verify"
TIMEOUT_SECONDS = 3
REALM = "hello"

app = Flask(__name__)

# One session for the process, so that connections to Countersign are reused.
countersign = requests.Session()
# Otherwise a .netrc entry for Countersign's host would replace the caller's credential.
countersign.trust_env = False


@dataclass(frozen=True)
class User:
    id: str
    name: str
    roles: list[str]
    scopes: list[str]
    method: str


def ask_countersign():
    """Return the user of the credential, or None if it is invalid. Any other response raises an error, never a 401."""
    # Pass the header on unchanged: after parsing and formatting, a credential might mean something else.
    headers = {"Authorization": request.headers["Authorization"]}
    try:
        # A redirect would send the credential to another server.
        answer = countersign.get(VERIFY_URL, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.exceptions.InvalidHeader:
        return None
    except requests.RequestException as error:
        app.logger.warning("Countersign does not answer: %s", error)
        raise ServiceUnavailable("Who you are cannot be checked now.", retry_after=1) from error

    match answer.status_code:
        case 200:
            return read_user(answer.headers)
        # A malformed or oversized credential is as invalid as a wrong one.
        case 400 | 401 | 431:
            return None
        case 403:
            raise Forbidden("Countersign knows you, but does not let you in.")
        case 429:
            raise TooManyRequests("Too many attempts.", retry_after=retry_after(answer))
        case status:
            app.logger.warning("Countersign cannot check the credential: it answers %s", status)
            raise ServiceUnavailable("Who you are cannot be checked now.", retry_after=retry_after(answer))


def read_user(headers):
    try:
        return User(
            id=headers["X-Auth-User-Id"],
            # The name is UTF-8, but http.client decodes headers as Latin-1.
            name=headers["X-Auth-User"].encode("latin-1").decode("utf-8"),
            roles=[role.strip() for role in headers["X-Auth-Roles"].split(",") if role.strip()],
            scopes=headers["X-Auth-Scopes"].split(),
            method=headers["X-Auth-Method"],
        )
    except (KeyError, UnicodeDecodeError) as error:
        # A 200 without a user is not from Countersign.
        app.logger.error("%s does not answer as Countersign does", VERIFY_URL)
        raise ServiceUnavailable("Who you are cannot be checked now.", retry_after=1) from error


def retry_after(answer):
    seconds = answer.headers.get("Retry-After", "")
    # Werkzeug omits a Retry-After of zero.
    return max(1, int(seconds)) if seconds.isdecimal() else 1


def presented_scheme():
    return request.headers.get("Authorization", "").partition(" ")[0].lower()


class AnyCase:
    """Schemes are case-insensitive (RFC 9110), but MultiAuth compares them exactly."""

    def is_compatible_auth(self, headers):
        return presented_scheme() == self.scheme.lower()


class BasicAuth(AnyCase, HTTPBasicAuth):
    pass


class TokenAuth(AnyCase, HTTPTokenAuth):
    pass


basic_auth = BasicAuth()
token_auth = TokenAuth("Bearer")
# The first scheme handles requests without a credential.
auth = MultiAuth(token_auth, basic_auth)


@basic_auth.verify_password
def verify_password(username, password):
    # Both are empty if the header could not be parsed. Countersign has no users with an empty name or password.
    if not username or not password:
        return None
    return ask_countersign()


@token_auth.verify_token
def verify_token(token):
    # Some versions of Flask-HTTPAuth call this even without a token.
    if not token:
        return None
    return ask_countersign()


@basic_auth.get_user_roles
@token_auth.get_user_roles
def get_user_roles(user):
    return user.roles


@basic_auth.error_handler
@token_auth.error_handler
def refuse(status):
    if status == 403:
        response = jsonify(error="You do not have the role for this.")
        response.headers["WWW-Authenticate"] = f'Bearer realm="{REALM}", error="insufficient_scope"'
    else:
        bearer, reason = f'Bearer realm="{REALM}"', "A username and password, or a token, are needed."
        if presented_scheme() == "bearer":
            bearer, reason = f'{bearer}, error="invalid_token"', "The token is not valid, or no longer."
        elif presented_scheme() == "basic":
            reason = "The username or the password is wrong."
        response = jsonify(error=reason)
        response.headers["WWW-Authenticate"] = bearer
        response.headers.add("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"')
    response.status_code = status
    return response


@app.errorhandler(HTTPException)
def show_error(error):
    response = error.get_response()
    response.data = app.json.dumps({"error": error.description})
    response.content_type = "application/json"
    return response


@app.get("/")
def index():
    return jsonify(message="Anyone may read this. /hello is for users, /admin for admins.")


@app.get("/hello")
@auth.login_required
def hello():
    user = auth.current_user()
    return jsonify(name=user.name, id=user.id, roles=user.roles, method=user.method)


@app.get("/admin")
@auth.login_required(role="admin")
def admin():
    return jsonify(message=f"{auth.current_user().name} is an admin.")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
