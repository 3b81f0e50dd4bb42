//! How many credentials were checked, by method, outcome and whether the cache knew them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::model::Method;

/// The outcome of a check.
#[derive(Clone, Copy)]
pub enum Check {
    /// The cache knew the credential, and nothing about it has changed.
    Cached,
    /// It was looked up, and is valid.
    LookedUp,
    /// It was refused.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    outcome: &'static str,
    cache: &'static str,
}

/// The counters, one for each method and outcome. They are looked up once, since a warm check takes a microsecond.
pub struct Checks([[Counter; 3]; 5]);

const METHODS: [Option<Method>; 5] =
    [Some(Method::Basic), Some(Method::Opaque), Some(Method::Jwt), Some(Method::Personal), None];
const CHECKS: [Check; 3] = [Check::Cached, Check::LookedUp, Check::Refused];

impl Checks {
    /// Nothing was checked yet.
    pub fn new(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        let counters = METHODS.map(|method| {
            CHECKS.map(|check| {
                let (outcome, cache) = match check {
                    Check::Cached => ("accepted", "hit"),
                    Check::LookedUp => ("accepted", "miss"),
                    Check::Refused => ("refused", "miss"),
                };
                let labels = Labels { method: method.map_or("unknown", Method::as_str), outcome, cache };
                family.get_or_create(&labels).clone()
            })
        });
        let help = "Credentials that were checked, by method, outcome and whether the cache had them";
        registry.register("credentials_checked", help, family);
        Self(counters)
    }

    /// Counts a check; without a method when what was presented is no credential.
    pub fn count(&self, method: Option<Method>, check: Check) {
        let method = match method {
            Some(Method::Basic) => 0,
            Some(Method::Opaque) => 1,
            Some(Method::Jwt) => 2,
            Some(Method::Personal) => 3,
            None => 4,
        };
        let check = match check {
            Check::Cached => 0,
            Check::LookedUp => 1,
            Check::Refused => 2,
        };
        if let Some(counter) = self.0.get(method).and_then(|counters| counters.get(check)) {
            counter.inc();
        }
    }
}
