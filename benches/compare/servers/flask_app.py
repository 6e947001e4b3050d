"""The API with Flask and PyJWT, every token verified; the key set is read once."""

import json
import os

import jwt
from flask import Flask, Response, request

PUBLIC = '{"message":"The API doesn\'t require an access token to share this message."}'
PROTECTED = '{"message":"The API successfully validated your access token."}'
ADMIN = '{"message":"The API successfully recognized you as an admin."}'

ISSUER = os.environ["ISSUER"]
AUDIENCE = os.environ["AUDIENCE"]
with open(os.environ["JWKS_FILE"], encoding="utf-8") as file:
    KEYS = {key.key_id: key for key in jwt.PyJWKSet.from_dict(json.load(file)).keys}

FIXED_HEADERS = [
    ("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Expires", "0"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "deny"),
    ("X-XSS-Protection", "0"),
    ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none';"),
    ("Referrer-Policy", "no-referrer"),
]

app = Flask(__name__, static_folder=None)


class Refusal(Exception):
    """Why a caller is not let in."""

    def __init__(self, status, message, error=None, scope=None):
        super().__init__(message)
        self.status = status
        self.body = {"message": message}
        self.challenge = 'Bearer realm="api"'
        if error:
            self.body["error"] = error
            self.challenge += f', error="{error}"'
        if scope:
            self.body["error_description"] = f"Requires {scope}"
            self.challenge += f', scope="{scope}"'


def answer(body, status=200):
    return Response(body, status, content_type="application/json; charset=utf-8")


def authenticate():
    """The claims of the request's token."""
    value = request.headers.get("Authorization")
    if not value:
        raise Refusal(401, "Requires authentication")
    scheme, _, token = value.partition(" ")
    if not token or " " in token or "," in token:
        raise Refusal(400, "Requires authentication", "invalid_request")
    if scheme.lower() != "bearer":
        raise Refusal(401, "Requires authentication")
    try:
        key = KEYS[jwt.get_unverified_header(token)["kid"]]
        return jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=5,
            options={"require": ["exp", "iss", "aud"]},
        )
    except (jwt.PyJWTError, KeyError) as error:
        raise Refusal(401, "Bad credentials", "invalid_token") from error


@app.get("/api/messages/public")
def public():
    return answer(PUBLIC)


@app.get("/api/messages/protected")
def protected():
    authenticate()
    return answer(PROTECTED)


@app.get("/api/messages/admin")
def admin():
    if "read:admin-messages" not in authenticate().get("permissions", []):
        raise Refusal(403, "Permission denied", "insufficient_scope", "read:admin-messages")
    return answer(ADMIN)


@app.errorhandler(Refusal)
def refused(refusal):
    response = answer(json.dumps(refusal.body), refusal.status)
    response.headers["WWW-Authenticate"] = refusal.challenge
    return response


@app.errorhandler(404)
def not_found(_):
    return answer('{"message":"Not Found"}', 404)


@app.errorhandler(405)
def method_not_allowed(error):
    response = answer('{"message":"Method Not Allowed"}', 405)
    response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


@app.after_request
def finish(response):
    response.headers.extend(FIXED_HEADERS)
    return response
