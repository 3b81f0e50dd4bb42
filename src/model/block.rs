use super::{BlockId, Timestamp, UserId};

/// A network that has tried too many wrong passwords, of one account or of all of them.
#[derive(Clone, Debug)]
pub struct Block {
    /// The id of the block.
    pub id: BlockId,
    /// An IPv4 address or an IPv6 /64.
    pub network: String,
    /// What the network may not try now.
    pub reach: Reach,
    /// When the block began.
    pub since: Timestamp,
    /// When the network may again try as many passwords as one that has tried none.
    pub until: Timestamp,
}

/// Whose passwords a blocked network may not try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of any account from which it has not logged in before.
    Any,
    /// That of this user; none for a username that does not exist. Which one it was is not recorded: people sometimes type
    /// their password into that field.
    Account(Option<UserId>),
}
