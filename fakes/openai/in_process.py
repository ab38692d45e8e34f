"""The fake OpenAI without a socket: respx routes with the same answers, for tests of code that uses the SDK.

    with respx.mock() as router:
        serve(router, ModelScript(chat=("Yes.",)))
        client = openai.OpenAI(api_key="k", http_client=httpx.Client())

The newest SDK uses `httpx2`, which respx does not patch: give it an `httpx` client, as above. Comes with
`leakline[respx]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakline.fakes.openai.api import Api
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.openai.exchange import missing_key, service_headers
from leakline.fakes.openai.script import ModelScript

if TYPE_CHECKING:
    import httpx
    import respx

BASE_URL = "https://api.openai.com/v1"


def serve(router: respx.Router, script: ModelScript, *, base_url: str = BASE_URL) -> respx.Route:
    """Answer every request below `base_url` by `script`; returns the route, which counts its calls."""
    import httpx

    api = Api(script)

    def respond(request: httpx.Request) -> httpx.Response:
        path = str(request.url.copy_with(query=None)).removeprefix(base_url).strip("/")
        headers = service_headers()
        try:
            if not request.headers.get("Authorization", "").removeprefix("Bearer ").strip():
                raise missing_key()
            content_type = request.headers.get("Content-Type", "")
            reply = api.reply(request.method, path, request.content, content_type)
        except ClientError as error:
            return httpx.Response(error.status, json={"error": error.body}, headers=headers)
        return httpx.Response(200, content=reply.body, headers={**headers, "Content-Type": reply.content_type})

    return router.route(url__startswith=base_url).mock(side_effect=respond)
