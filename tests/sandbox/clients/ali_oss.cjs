// Alibaba's SDK for Node.js against the stand-in at OSS_ENDPOINT.
const assert = require("node:assert");
const OSS = require("ali-oss");

const client = new OSS({
  endpoint: process.env.OSS_ENDPOINT,
  region: `oss-${process.env.OSS_REGION}`,
  authorizationV4: true,
  bucket: process.env.OSS_BUCKET,
  accessKeyId: process.env.OSS_ACCESS_KEY_ID,
  accessKeySecret: process.env.OSS_ACCESS_KEY_SECRET,
});
const KEY = "a b/日本+%.txt";

async function main() {
  await client.put(KEY, Buffer.from("hello"), { meta: { place: "here" }, mime: "text/x-odd" });
  const found = await client.get(KEY);
  assert.equal(found.content.toString(), "hello");
  assert.equal(found.res.headers["content-type"], "text/x-odd");
  assert.equal((await client.head(KEY)).meta.place, "here");
  const part = await client.get(KEY, { headers: { Range: "bytes=1-3" } });
  assert.equal(part.content.toString(), "ell");
  await client.putObjectTagging(KEY, { year: "2026" });
  assert.deepEqual((await client.getObjectTagging(KEY)).tag, { year: "2026" });
  await client.copy("copy", KEY);
  assert.equal((await client.get("copy")).content.toString(), "hello");
  const listed = await client.listV2({ prefix: "a b/" });
  assert.deepEqual(listed.objects.map((one) => one.name), [KEY]);
  const large = Buffer.alloc(300 * 1024, "x");
  await client.multipartUpload("large", large, { partSize: 100 * 1024 });
  assert.equal((await client.head("large")).res.headers["content-length"], `${large.length}`);
  await client.deleteMulti([KEY, "copy"]);
  await client.delete("large");
  assert.deepEqual((await client.listV2({})).objects ?? [], []);
  await assert.rejects(client.get(KEY), { code: "NoSuchKey", status: 404 });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
