"""
OpenFeature's clients for JavaScript, in Node, against the built-in server.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag.web import start_http_server

from ._npm import install

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.untraced, pytest.mark.once]

SECONDS = 20.0

PROGRAM = r"""
const { OpenFeature: Web, ProviderEvents } = require("@openfeature/web-sdk");
const { OFREPWebProvider } = require("@openfeature/ofrep-web-provider");
const { OpenFeature: Server } = require("@openfeature/server-sdk");
const { OFREPProvider } = require("@openfeature/ofrep-provider");

// What browsers have, as far as the provider uses it: Node 20 lacks it.
class Stream extends EventTarget {
  constructor(url) {
    super();
    this.readyState = 0;
    this.control = new AbortController();
    this.read(url).catch(() => {});
  }
  async read(url) {
    const answer = await fetch(url, { signal: this.control.signal });
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
    let rest = "";
    for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + part).split("\n");
      rest = lines.pop();
      for (const line of lines.filter((line) => line.startsWith("data: "))) {
        this.dispatchEvent(new MessageEvent("message", { data: line.slice(6) }));
      }
    }
  }
  close() {
    this.readyState = 2;
    this.control.abort();
  }
}
globalThis.EventSource ??= Stream;

async function main(baseUrl) {
  const found = {};
  await Web.setContext({ targetingKey: "acme" });
  await Web.setProviderAndWait(new OFREPWebProvider({ baseUrl, pollInterval: 0 }));
  const web = Web.getClient();
  found.web = [
    web.getNumberValue("rate", 0),
    web.getBooleanValue("switch", false),
    web.getObjectValue("policy", {}),
    web.getStringDetails("rate", "").errorCode,
    web.getStringDetails("password", "").errorCode,
    web.getNumberDetails("rate", 0).variant,
  ];
  await Server.setProviderAndWait(new OFREPProvider({ baseUrl }));
  const server = Server.getClient();
  found.server = [
    await server.getNumberValue("rate", 0, { targetingKey: "acme" }),
    await server.getBooleanValue("switch", false),
    await server.getObjectValue("policy", {}),
    (await server.getStringDetails("rate", "")).errorCode,
    (await server.getStringDetails("password", "")).errorCode,
    (await server.getNumberDetails("rate", 0)).variant,
  ];
  const changed = new Promise((resolve) =>
    web.addHandler(ProviderEvents.ConfigurationChanged, () => web.getNumberValue("rate", 0) === 60 && resolve()));
  console.log(JSON.stringify(found));
  await changed;
  console.log("changed");
  process.exit(0);
}
main(process.argv[2]);
"""


@pytest.mark.timeout(90)
def test_the_clients_for_javascript(tmp_path: Path) -> None:
    """Both JavaScript providers get values and error codes, and the one for browsers gets a change from the stream."""
    install(tmp_path, "web-sdk", "ofrep-web-provider", "server-sdk", "ofrep-provider", "core")
    (tmp_path / "program.js").write_text(PROGRAM)
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 50)
    flags.dyn_bool("switch", True)
    flags.dyn_json("policy", {"mode": "allow"})
    flags.dyn_string("password", "hunter2", secret=True)
    with start_http_server(0, flags, ofrep=True) as server:
        command = ["node", "program.js", f"http://127.0.0.1:{server.port}"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())
            expected = [50, True, {"mode": "allow"}, "TYPE_MISMATCH", "FLAG_NOT_FOUND", "default"]
            assert found == {"web": expected, "server": expected}
            rate.set(60)
            assert process.stdout.readline() == "changed\n"
            assert process.wait(SECONDS) == 0
