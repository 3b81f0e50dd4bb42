//! Commands about users and what is theirs: sessions, tokens, blocks.

use clap::{ArgGroup, Args, Subcommand};
use uuid::Uuid;

use crate::config::values::lifetime;
use crate::model::{Lifetime, LinkPurpose, Scope};

/// What to do with users. It works beside a running server, which goes by it at the next request.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user; the password is asked for, or is the first line of standard input
    Create {
        /// What they log in with
        username: String,
        /// What they are called
        #[arg(long)]
        name: Option<String>,
        /// Where mail reaches them
        #[arg(long)]
        email: Option<String>,
        /// A role, as often as needed; `user` without any
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// They must choose another password before anything else
        #[arg(long)]
        must_change_password: bool,
        /// Without a password: print a link, alone on its line, with which they choose one
        #[arg(long, conflicts_with = "must_change_password")]
        invite: bool,
        /// Send the link by mail in place of printing it
        #[arg(long, requires = "invite", requires = "email")]
        deliver: bool,
    },
    /// Print a link, this once, with which a user chooses a password; the one they had ends
    Link {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
        /// How long it works, and what its page says [default: invitation, if they have no password yet]
        #[arg(long)]
        purpose: Option<LinkPurpose>,
        /// Send it to their e-mail address in place of printing it
        #[arg(long, conflicts_with = "json")]
        deliver: bool,
        /// As JSON, for programs: with its expiry
        #[arg(long)]
        json: bool,
    },
    /// List users
    List {
        /// Only those whose username, name or e-mail begins with this
        begins_with: Option<String>,
        /// Only those with this role
        #[arg(long)]
        role: Option<String>,
        /// As JSON, an object a line, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show a user
    Show {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Give a user another password, which ends every session and token of theirs
    SetPassword {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
        /// They must choose another password before anything else
        #[arg(long)]
        must_change_password: bool,
    },
    /// Let a user in no more; ends every session and token of theirs
    Disable {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
    },
    /// Let a user in again
    Enable {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
    },
    /// Take a user away
    Delete {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
        /// Whether it was confirmed
        #[command(flatten)]
        sure: Sure,
    },
    /// Give a user roles and take some away
    Role {
        /// Their username or id
        #[arg(value_name = "USER")]
        username: String,
        /// A role to give
        #[arg(long, value_name = "ROLE")]
        add: Vec<String>,
        /// A role to take away
        #[arg(long, value_name = "ROLE")]
        remove: Vec<String>,
    },
}

/// What to do with mail.
#[derive(Clone, Debug, Subcommand)]
pub enum MailCommand {
    /// Send a mail to this address, now, and say what the mail server answered
    Test {
        /// To whom
        address: String,
    },
}

/// What to do with personal access tokens. It works beside a running server, which goes by it at the next request.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// List a user's tokens, the newest first
    List {
        /// Whose: a username or an id
        #[arg(value_name = "USER")]
        username: String,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Issue a token for a user; it is printed, this once, alone on its line
    Issue {
        /// Whose: a username or an id
        #[arg(value_name = "USER")]
        username: String,
        /// What it is for
        #[arg(long)]
        name: String,
        /// What it may do, as often as needed
        #[arg(long = "scope", value_name = "SCOPE", value_parser = scope, required = true)]
        scopes: Vec<Scope>,
        /// When it runs out: 12h, 30d, never [default: as the setting for personal tokens says]
        #[arg(long, value_name = "DURATION", value_parser = token_lifetime)]
        expires_in: Option<Lifetime>,
        /// As JSON, for programs: all about it
        #[arg(long)]
        json: bool,
    },
    /// Revoke tokens
    Revoke(Which),
}

/// What to do with sessions. It works beside a running server, which goes by it at the next request.
#[derive(Clone, Debug, Subcommand)]
pub enum SessionCommand {
    /// List a user's sessions, the newest first
    List {
        /// Whose: a username or an id
        #[arg(value_name = "USER")]
        username: String,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End sessions, and with them their opaque tokens and JWTs
    End(Which),
}

/// What to do with blocks of addresses that tried too many wrong passwords. It works beside a running server, which goes by it
/// within a second.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum BlockCommand {
    /// List the blocks, the newest first
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Lift a block
    Lift {
        /// Its id, as the list shows it
        id: Uuid,
    },
}

/// Which tokens or sessions: one, a user's, or everyone's.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").args(["id", "all", "everyone"]).required(true))]
#[group(skip)]
pub struct Which {
    /// Its id, as the list shows it
    pub id: Option<Uuid>,
    /// All of this user
    #[arg(long, value_name = "USER")]
    pub all: Option<String>,
    /// All there are, such as after a break-in
    #[arg(long)]
    pub everyone: bool,
    /// Whether it was confirmed
    #[command(flatten)]
    pub sure: Sure,
}

/// What cannot be undone is asked about: on a terminal, or else the command ends and says that it takes this.
#[derive(Clone, Copy, Debug, Args)]
pub struct Sure {
    /// Do not ask; without a terminal, what cannot be undone needs it
    #[arg(long)]
    pub yes: bool,
}

fn token_lifetime(text: &str) -> Result<Lifetime, &'static str> {
    match text {
        "never" => Ok(Lifetime::Unlimited),
        _ => Ok(Lifetime::Seconds(
            lifetime(text).map_err(|_| "must be never, or from 1s to 36500d, written like 12h or 30d")?.as_secs(),
        )),
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|_| format!("must be one of {}", Scope::ALL.map(Scope::as_str).join(", ")))
}
