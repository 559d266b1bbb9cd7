//! The own heads for other peers' requests, which bring their lease.

use async_trait::async_trait;
use protocol::generate::{EmbedRequest, EmbedResponse, Failure, GenerateRequest};
use web::backend::GenerateStream;

use super::OwnHeads;
use crate::residency::Lease;
use crate::serving::Local;

#[async_trait]
impl Local for OwnHeads {
    async fn generate(
        &self,
        request: GenerateRequest,
        lease: Lease,
    ) -> Result<GenerateStream, Failure> {
        self.engines.note(lease.model(), &lease);
        let head = self.head(&lease).await?;
        head.generate(request, lease).await
    }

    async fn embed(&self, request: EmbedRequest, lease: Lease) -> Result<EmbedResponse, Failure> {
        self.engines.note(lease.model(), &lease);
        let head = self.head(&lease).await?;
        head.embed(request).await
    }
}
