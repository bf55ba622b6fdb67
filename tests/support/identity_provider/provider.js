// A certified OpenID Connect provider for tests. Any name logs in with any password; what is claimed
// of it is in the file that is named as second argument, as JSON, read at each login.
//
//     node provider.js PORT CLAIMS_FILE CLIENT_ID CLIENT_SECRET REDIRECT_URI
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, claims, clientId, clientSecret, redirectUri] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri] }],
  claims: { openid: ['sub', 'groups', 'preferred_username', 'email'] },
  conformIdTokenClaims: process.env.GROUPS_IN_USERINFO === '1',
  cookies: { keys: ['a key of a test'] },
  pkce: { required: () => true },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, ...JSON.parse(readFileSync(claims, 'utf8'))[id] }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
