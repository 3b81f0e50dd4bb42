//! The JSON representation of signing keys.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::KeyInfo;
use crate::model::Timestamp;

/// A signing key.
#[derive(Serialize, ToSchema)]
pub struct KeyView {
    /// The key id, in token headers and in the key set.
    #[schema(example = "01a209a4-5175-7d1f-96a9-8817ee5490a8")]
    kid: String,
    #[schema(example = "ES256")]
    algorithm: &'static str,
    /// `next`: published, does not sign yet; `signing`; `verifying`: only verifies the tokens it signed.
    #[schema(example = "signing")]
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the key starts signing.
    #[schema(value_type = String, format = DateTime)]
    signs_from: Timestamp,
    /// When its last token has expired; known once there is a next key.
    #[schema(value_type = Option<String>, format = DateTime)]
    verifies_until: Option<Timestamp>,
}

impl From<KeyInfo> for KeyView {
    fn from(key: KeyInfo) -> Self {
        Self {
            kid: key.kid,
            algorithm: key.algorithm.as_str(),
            state: key.state.as_str(),
            created_at: key.created_at,
            signs_from: key.signs_from,
            verifies_until: key.verifies_until,
        }
    }
}

/// The signing keys.
#[derive(Serialize, ToSchema)]
pub struct KeyList {
    items: Vec<KeyView>,
}

impl From<Vec<KeyInfo>> for KeyList {
    fn from(keys: Vec<KeyInfo>) -> Self {
        Self { items: keys.into_iter().map(KeyView::from).collect() }
    }
}
