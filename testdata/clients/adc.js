// Prints an access token of Google's library for Node.
const { GoogleAuth } = require("google-auth-library");

new GoogleAuth({ scopes: "https://www.googleapis.com/auth/cloud-platform" }).getAccessToken().then(
  (token) => console.log("node", token),
  (error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
