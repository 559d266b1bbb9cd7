// A peer written with js-libp2p in a swarm of Shoal: it is measured, identified, tells the swarm
// who it is and hears who the others are, by signed adverts; and a private swarm tells it nothing.
//
// From outside: BOOTSTRAP and PRIVATE, TCP multiaddrs of a bootstrap server of the public mesh and
// of a private one; NODE, the API of a node that knows only the first; PROTO, the folder with the
// messages' definitions.

import assert from 'node:assert/strict'
import { createHash, randomBytes, verify } from 'node:crypto'
import { after, before, test } from 'node:test'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { base58btc } from 'multiformats/bases/base58'
import protobuf from 'protobufjs'

const { BOOTSTRAP, PRIVATE, NODE, PROTO } = process.env
const PROBE = '/shoal/public/probe/1'
const TOPIC = '/shoal/public/adverts/1/0/*'
const LABEL = 'shoal/advert/1'
const ADVERT_LIFETIME_MS = 360_000
const PATIENCE_MS = 30_000

const wire = await protobuf.load(['envelope.proto', 'advert.proto'].map(file => `${PROTO}/${file}`))
const Envelope = wire.lookupType('Envelope')
const Advert = wire.lookupType('Advert')

// One hash under a label: each part with its length before it (protocol/src/digest.rs).
function digest (label, parts) {
  const hash = createHash('sha256').update(label).update(Buffer.of(0))
  for (const part of parts) {
    hash.update(length64(part.length)).update(part)
  }
  return hash.digest()
}

function length64 (value) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

// What an envelope's signature covers (protocol/src/envelope.rs).
function signedBytes ({ sequence, expires, payload }) {
  const numbers = [sequence, expires, payload.length].map(length64)
  return Buffer.concat([Buffer.from(LABEL), Buffer.of(0), ...numbers, payload])
}

async function until (what, condition) {
  const end = Date.now() + PATIENCE_MS
  for (;;) {
    const value = await condition()
    if (value) return value
    assert.ok(Date.now() < end, `waited in vain for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

// An echo, as every node of the swarm answers probes.
async function echo (stream) {
  for await (const bytes of stream) stream.send(bytes)
}

let peer
let key
const identified = new Map()
const heard = []

before(async () => {
  key = await generateKeyPair('Ed25519')
  peer = await createLibp2p({
    privateKey: key,
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      pubsub: gossipsub({
        globalSignaturePolicy: 'StrictNoSign',
        allowPublishToZeroTopicPeers: true,
        msgIdFn: ({ topic, data }) =>
          digest('shoal/gossip-id/1', [Buffer.from(topic), data]).subarray(0, 20)
      })
    }
  })
  // The swarm's own name instead of /meshsub.
  const { pubsub } = peer.services
  await pubsub.stop()
  pubsub.protocols = ['/shoal/public/gossip/1.1.0']
  await pubsub.start()
  peer.addEventListener('peer:identify', ({ detail }) =>
    identified.set(detail.peerId.toString(), detail))
  pubsub.addEventListener('message', ({ detail }) => heard.push(detail))
  await peer.handle(PROBE, echo)
  pubsub.subscribe(TOPIC)
})

after(() => peer.stop())

test('it is identified, and measured by the probe', async () => {
  const connection = await peer.dial(multiaddr(BOOTSTRAP))
  const them = await until('identify', () => identified.get(connection.remotePeer.toString()))
  assert.match(them.agentVersion, /^shoal\//)
  assert.ok(them.protocols.includes('/shoal/public/kad/1'), them.protocols.join(' '))
  assert.ok(them.protocols.every(name => !name.startsWith('/ipfs/kad')), 'never the public DHT')

  const stream = await connection.newStream(PROBE)
  const question = randomBytes(8)
  const sent = performance.now()
  stream.send(question)
  for await (const answer of stream) {
    assert.deepEqual(Buffer.from(answer.subarray()), question)
    break
  }
  console.log(`probe: ${(performance.now() - sent).toFixed(2)} ms`)
})

test('what it signs reaches a node that is not its neighbour', async () => {
  const payload = Buffer.from(Advert.encode(Advert.create({
    swarm: 'public',
    version: 'js-interop',
    role: 2,
    addresses: peer.getMultiaddrs().map(address => address.decapsulate('/p2p').toString())
  })).finish())
  const sequence = Date.now()
  const expires = sequence + ADVERT_LIFETIME_MS
  const publicKey = Buffer.from(key.publicKey.raw)
  const signature = Buffer.from(await key.sign(signedBytes({ sequence, expires, payload })))
  const envelope = Buffer.from(Envelope.encode(Envelope.create({
    publicKey, sequence, expiresUnixMillis: expires, payload, signature
  })).finish())
  const own = base58btc.baseEncode(publicKey)
  await until('a neighbour in the topic', () =>
    peer.services.pubsub.getSubscribers(TOPIC).length > 0)
  await peer.services.pubsub.publish(TOPIC, envelope)
  const shown = await until('the node to show it', async () => {
    const status = await (await fetch(`${NODE}/api/peers`)).json()
    return status.peers.find(({ id, version }) => id === own && version === 'js-interop')
  })
  assert.equal(shown.role, 'api-client')
})

test('what a node signs is heard, and its signature holds', async () => {
  const { node_id: node } = await (await fetch(`${NODE}/api/status`)).json()
  const advert = await until("the node's advert", () => heard
    .filter(({ topic }) => topic === TOPIC)
    .map(({ data }) => Envelope.decode(data))
    .find(({ publicKey }) => base58btc.baseEncode(publicKey) === node))
  const payload = Buffer.from(advert.payload)
  const sequence = BigInt(advert.sequence.toString())
  const expires = BigInt(advert.expiresUnixMillis.toString())
  const x = Buffer.from(advert.publicKey).toString('base64url')
  const theirs = { key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }
  assert.ok(verify(null, signedBytes({ sequence, expires, payload }), theirs, advert.signature))
  assert.equal(Advert.decode(payload).swarm, 'public')
})

test('a private swarm tells it nothing and closes', async () => {
  const connection = await peer.dial(multiaddr(PRIVATE))
  for (const name of ['generate', 'probe', 'kad', 'adverts', 'revocations']) {
    await assert.rejects(connection.newStream(`/shoal/lab/${name}/1`), `${name} is not spoken`)
  }
  await until('the end of the connection', () => connection.status !== 'open')
  assert.equal(identified.get(connection.remotePeer.toString()), undefined)
})
