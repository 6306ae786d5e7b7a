"""A site whose pages count: what they get of a group that keeps its messages, and what they send."""

from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie

from fullduplex import Endpoint, Group

PAGE = """<!doctype html><title>numbers</title>
<script type="module">
import { connect } from "/static/fullduplex/client.js";
const query = new URLSearchParams(location.search);
const options = JSON.parse(query.get("options") ?? "{}");
window.statuses = [];
window.log = [];
window.shown = [];
addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
window.client = connect("/realtime/", { ...options, onStatus: ({ state, transport }) => {
  statuses.push(state);
  document.title = transport ?? state;
} });
window.room = client.subscribe(query.get("group"), {
  onMessage: ({ n }) => log.push(n),
  onGap: () => log.push("gap"),
  onSubscribed: () => document.body.dataset.subscribed = "yes",
});
</script>
<body></body>"""


class Numbers(Endpoint):
    async def may_subscribe(self, group: str) -> bool:
        return True

    async def may_publish(self, group: str, data) -> bool:
        return True

    async def call_double(self, params):
        return params * 2


@ensure_csrf_cookie
def page(request):
    return HttpResponse(PAGE)


@csrf_exempt
def publish(request):
    """Send the numbers ``from`` to ``to`` to a group."""
    group = Group(request.GET["group"])
    for number in range(int(request.GET["from"]), int(request.GET["to"]) + 1):
        group.send({"n": number})
    return HttpResponse()


def other(request):
    return HttpResponse("<!doctype html><title>other</title>another page")


urlpatterns = [
    path("", page),
    path("other/", other),
    path("publish/", publish),
    path("realtime/", Numbers.as_view(heartbeat_s=1.0)),
    path("realtime/events/", Numbers.as_event_stream(heartbeat_s=1.0)),
    *staticfiles_urlpatterns(),
]
