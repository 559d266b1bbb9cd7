// js-libp2p wants Promise.withResolvers, which Node has since version 22.
Promise.withResolvers ??= function () {
  let resolve
  let reject
  const promise = new this((...both) => { [resolve, reject] = both })
  return { promise, resolve, reject }
}
