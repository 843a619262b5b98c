//! Wire types: the HTTP API in JSON and the frames between front and signer.
