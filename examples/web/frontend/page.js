import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const banner = document.getElementById("banner");
const client = OpenFeature.getClient();

function show() {
  banner.textContent = client.getStringValue("banner", "");
}

client.addHandler(ProviderEvents.Ready, show);
client.addHandler(ProviderEvents.ConfigurationChanged, show);

// The origin of the flags: the one in the query, or the default address of the server in serve.py.
const flags = new URLSearchParams(location.search).get("flags") ?? "http://127.0.0.1:8081";
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: flags, pollInterval: 0 }));
