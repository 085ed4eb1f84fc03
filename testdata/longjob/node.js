// Google's library for Node, one client for all its life.
const { GoogleAuth } = require("google-auth-library");

const url = process.env.CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER + "v1/projects/123456789012";
const end = Date.now() + process.env.LONG_SECONDS * 1000;
const pause = () => new Promise((done) => setTimeout(done, process.env.LONG_PAUSE * 1000));

(async () => {
  const client = await new GoogleAuth({ scopes: "https://www.googleapis.com/auth/cloud-platform" }).getClient();
  const tokens = new Set();
  let asked = 0;
  for (let now = 0; now < end; asked++) {
    now = Date.now();
    const answer = await client.request({ url });
    if (answer.data.lifecycleState !== "ACTIVE") throw new Error(JSON.stringify(answer.data));
    tokens.add((await client.getAccessToken()).token);
    await pause();
  }
  console.log("node asked", asked, "times with", tokens.size, "tokens");
})().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
