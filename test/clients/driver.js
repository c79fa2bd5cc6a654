// npm's tarantool-driver against a running instance. Arguments: host, port, password of admin, id of an empty space
// [unsigned, string, unsigned]. Prints "ok" and exits with 0, or throws.
'use strict';
const assert = require('assert');
const Driver = require('tarantool-driver');

const [host, port, password, space] = process.argv.slice(2);
const id = Number(space);

async function refused(promise, pattern) {
  let failed = null;
  try { await promise; } catch (e) { failed = e; }
  assert(failed, `not refused: ${pattern}`);
  assert.match(String(failed.message), pattern);
}

async function main() {
  const c = new Driver({host, port: Number(port), username: 'admin', password, lazyConnect: true});
  await c.connect();
  assert.strictEqual(await c.ping(), true);
  assert.deepStrictEqual(await c.insert(id, [1, 'one', 10]), [[1, 'one', 10]]);
  assert.deepStrictEqual(await c.replace(id, [2, 'two', 20]), [[2, 'two', 20]]);
  assert.deepStrictEqual(await c.replace(id, [2, 'deux', 20]), [[2, 'deux', 20]]);
  assert.deepStrictEqual(await c.select(id, 0, 10, 0, 'eq', [1]), [[1, 'one', 10]]);
  assert.deepStrictEqual(await c.select(id, 0, 10, 0, 'all', []), [[1, 'one', 10], [2, 'deux', 20]]);
  assert.deepStrictEqual(await c.select(id, 0, 1, 1, 'le', [2]), [[1, 'one', 10]]);
  assert.deepStrictEqual(await c.update(id, 0, [1], [['+', 2, 5], ['=', 1, 'uno']]), [[1, 'uno', 15]]);
  await c.upsert(id, [['+', 2, 1]], [3, 'three', 30]);
  await c.upsert(id, [['+', 2, 1]], [3, 'three', 30]);
  assert.deepStrictEqual(await c.select(id, 0, 1, 0, 'eq', [3]), [[3, 'three', 31]]);
  assert.deepStrictEqual(await c.delete(id, 0, [1]), [[1, 'uno', 15]]);
  assert.deepStrictEqual(await c.delete(id, 0, [1]), []);
  // Names instead of numbers: the driver reads the views.
  assert.deepStrictEqual(await c.select('driver', 'pk', 1, 0, 'eq', [2]), [[2, 'deux', 20]]);
  await refused(c.insert(id, [2, 'again', 0]), /Duplicate key exists in unique index 'pk' in space 'driver'/);
  await refused(c.insert(id, ['x', 'again', 0]), /Tuple field 1 type does not match one required by operation: expected unsigned/);
  const info = await c.call('box.info');
  // The driver calls in the old way, in which every value comes as a row.
  assert.strictEqual(info[0][0].status, 'running');
  await refused(c.call('nothing'), /Procedure 'nothing' is not defined/);
  const many = await Promise.all(Array.from({length: 500}, (_, n) => c.insert(id, [100 + n, 'row ' + n, n])));
  many.forEach((rows, n) => assert.deepStrictEqual(rows, [[100 + n, 'row ' + n, n]]));
  const all = await c.select(id, 0, 1000, 0, 'ge', [100]);
  assert.strictEqual(all.length, 500);
  await c.disconnect();

  const wrong = new Driver({host, port: Number(port), username: 'admin', password: 'wrong', lazyConnect: true, retryStrategy: () => false});
  wrong.on('error', () => {});
  await refused(wrong.connect(), /password|credentials|closed/i);
  wrong.disconnect();
  console.log('ok');
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
