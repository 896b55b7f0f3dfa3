// SPDX-License-Identifier: Apache-2.0
//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cpus::{self, CpuListError};
use crate::yang::format::Format;

/// An IPsec gateway in user space.
#[derive(Debug, Parser)]
#[command(
    name = "vita",
    version,
    about = "Vita: an IPsec gateway in user space",
    long_about = None,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Vita {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub gateway: Gateway,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read and change the configuration of a running instance
    #[command(after_help = CONFIG_EXAMPLES, disable_help_subcommand = true, arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Let go what an instance with fail-closed left behind: the kernel gets its interfaces' packets again
    Unpin {
        /// Name of an instance that does not run
        name: String,
    },
    /// List the instances that run on this machine
    Ps,
}

#[derive(Debug, Args)]
pub(super) struct Gateway {
    /// Name of this instance, by which `vita config` finds it; without one it does by process id
    #[arg(short, long)]
    pub name: Option<String>,
    /// Use XDP for network interfaces (the only driver there is, so this changes nothing)
    #[arg(short = 'X', long)]
    pub xdp: bool,
    /// CPUs to pin the workers to, one for each, in the order of their queues: 2,3 or 2-5
    #[arg(short, long, value_name = "LIST", value_parser = cpu_list)]
    pub cpu: Option<CpuList>,
    /// Let workers spin when there is nothing to do: lower latency, a whole CPU each (Linux 5.11)
    #[arg(short, long)]
    pub busywait: bool,
    /// Give workers real-time priority
    #[arg(short, long)]
    pub realtime: bool,
    /// Start with the configuration in FILE, instead of an empty one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let SIGHUP take a configuration file that is empty, or removes all routes or interfaces
    #[arg(long)]
    pub allow_empty: bool,
    /// Print a fresh random preshared-key and exit
    #[arg(short = 'K', long)]
    pub keygen: bool,
    /// Describe the configuration and the state of a gateway and exit
    #[arg(short = 'H', long)]
    pub config_help: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigAction {
    #[command(flatten)]
    Common(ConfigCommand),
    #[command(flatten)]
    Extended(ExtendedCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a part of the configuration
    Get {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        printing: Printing,
    },
    /// Print a part of the state: counters and the like
    GetState {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        printing: Printing,
    },
    /// Replace a part of the configuration, or all of it, while traffic flows
    #[command(after_help = VALUE_HELP)]
    Set {
        #[command(flatten)]
        trial: DryRun,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        value: Value,
    },
    /// Add entries to a list; those there are stay
    #[command(after_help = VALUE_HELP)]
    Add {
        #[command(flatten)]
        trial: DryRun,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        value: Value,
    },
    /// Remove an entry from a list
    Remove {
        #[command(flatten)]
        trial: DryRun,
        #[command(flatten)]
        target: Target,
    },
    /// Replace the whole configuration by that in a file
    Load {
        #[command(flatten)]
        trial: DryRun,
        #[command(flatten)]
        schema: Schema,
        /// How to read the file [default: json if it begins with a brace and a quoted name, else yang]
        #[arg(short, long, value_enum, value_name = "FORMAT")]
        format: Option<Input>,
        /// Name or process id of the instance
        id: String,
        /// The configuration
        file: PathBuf,
    },
    /// Serve requests in JSON on standard input, keeping others from changing the configuration
    Listen {
        #[command(flatten)]
        schema: Schema,
        /// Serve one client of a new socket at PATH instead
        #[arg(short = 'c', long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Name or process id of the instance
        id: String,
    },
}

/// What `snabb config` does not have.
#[derive(Debug, Subcommand)]
pub(super) enum ExtendedCommand {
    /// Say whether the configuration in a file is valid, and if not, where it is wrong
    Check {
        /// The configuration; - is standard input
        file: PathBuf,
    },
    /// Replace the whole configuration, on trial if asked to
    #[command(after_help = COMMIT_HELP)]
    Commit {
        /// Take it back after this time (90s, 5m, 1h) unless it is confirmed
        #[arg(long, value_name = "TIME", value_parser = time)]
        confirm: Option<u32>,
        #[command(flatten)]
        schema: Schema,
        /// Name or process id of the instance
        id: String,
        /// The configuration; - is standard input
        file: PathBuf,
    },
    /// Keep the configuration that is on trial
    Confirm {
        #[command(flatten)]
        schema: Schema,
        /// Name or process id of the instance
        id: String,
    },
    /// Return to an earlier configuration
    Rollback {
        #[command(flatten)]
        schema: Schema,
        /// Name or process id of the instance
        id: String,
        /// Its number in the history
        #[arg(default_value_t = 1)]
        number: u32,
    },
    /// List the last 32 configurations
    History {
        #[command(flatten)]
        schema: Schema,
        /// Name or process id of the instance
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct DryRun {
    /// Change nothing; print what would be changed and what that would touch
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Target {
    #[command(flatten)]
    pub schema: Schema,
    /// Name or process id of the instance
    pub id: String,
    /// Which part: / for everything, /mtu, '/route4[id=tokyo]/gateway' (quoted, for the shell)
    pub path: String,
}

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Schema that PATH belongs to [default: the one the instance serves]
    #[arg(short = 's', long = "schema", alias = "schema-name", value_name = "NAME")]
    pub name: Option<String>,
    /// Revision of the schema
    #[arg(short, long, alias = "revision-date", value_name = "DATE")]
    pub revision: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Printing {
    /// How to print: yang, json, xpath (a path and a value per line) or influxdb
    #[arg(short, long, default_value_t = Format::Yang)]
    pub format: Format,
    /// Print leaves that have their default value too
    #[arg(long)]
    pub print_default: bool,
}

#[derive(Debug, Args)]
pub(super) struct Value {
    /// How to read the value [default: json if it begins with a brace and a quoted name, else yang]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub format: Option<Input>,
    /// The new value [default: standard input]
    #[arg(allow_negative_numbers = true)]
    pub value: Option<String>,
}

/// The formats that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Input {
    Yang,
    Json,
}

/// A parsed list; of its own type because clap gives a meaning to `Vec`.
#[derive(Clone, Debug)]
pub(super) struct CpuList(pub Vec<usize>);

impl ConfigCommand {
    pub(super) fn is_dry_run(&self) -> bool {
        match self {
            ConfigCommand::Set { trial, .. }
            | ConfigCommand::Add { trial, .. }
            | ConfigCommand::Remove { trial, .. }
            | ConfigCommand::Load { trial, .. } => trial.dry_run,
            _ => false,
        }
    }
}

fn cpu_list(text: &str) -> Result<CpuList, CpuListError> {
    cpus::parse(text).map(CpuList)
}

/// Seconds, from `90s`, `5m` or `1h`. The unit is required: guessing it wrong could cut somebody off. (The humantime crate
/// would take much more, such as `1day 5 min`.)
fn time(text: &str) -> Result<u32, String> {
    let seconds = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        _ => None,
    };
    let number = text.chars().next_back().and_then(seconds).and_then(|unit: u32| {
        let (digits, _) = text.split_at(text.len() - 1);
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse::<u32>().ok())??
            .checked_mul(unit)
    });
    let number = number.filter(|seconds| (1..=LONGEST_TRIAL_S).contains(seconds));
    number.ok_or_else(|| "write e.g. 90s, 5m or 1h, at most 24h".to_owned())
}

/// A day: the range of the protocol.
const LONGEST_TRIAL_S: u32 = 86_400;

const EXAMPLES: &str = "\
Examples:
  vita --name paris --xdp --cpu 2,3        run a gateway with two workers
  vita -n paris -X --config paris.conf     .. that starts with a configuration
  vita config set paris / < paris.conf     configure it while it runs
  vita config get-state paris /gateway-state
  vita --config-help | less                what can be configured
  vita --keygen                            a preshared-key for a route
  vita unpin paris                         give interfaces back that fail-closed keeps shut

Environment:
  VITA_LOG         log level: error, warn, info, debug or trace [default: info]
  SNABB_SHM_ROOT   where control sockets lie [default: /var/run/snabb]
  VITA_AEAD        AES-GCM by vaes-avx512, vaes-avx2, aes-ni or portable [default: the fastest]";

const CONFIG_EXAMPLES: &str = "\
Examples:
  vita config get paris /
  vita config get paris '/route4[id=tokyo]'
  vita config set paris /mtu 1440
  vita config set paris / < paris.conf
  vita config add paris /route4 < oslo.conf    { id oslo; net \"10.3.0.0/16\"; .. }
  vita config remove paris '/route4[id=oslo]'
  vita config get-state paris /gateway-state
  vita config get --format json paris / | jq .

  vita config check paris.conf
  vita config set --dry-run paris /mtu 1400
  vita config commit --confirm 5m paris paris.conf && vita config confirm paris
  vita config history paris && vita config rollback paris 2

Answers, refusals too, go to standard output. Exit code: 0 if the instance did
it; 1 if not, and then nothing has changed.
`snabb config` is the same: call this program snabb, by a symlink for example.";

const COMMIT_HELP: &str = "\
With --confirm the new configuration runs on trial. If it is not confirmed in time, for example because
it cut you off, the instance returns to the one before by itself:
  vita config commit --confirm 5m paris paris.conf
  vita config confirm paris          keep it
  vita config rollback paris         or take it back at once";

const VALUE_HELP: &str = "\
VALUE is what `get` prints for the same path:
  a leaf      /mtu                  1440
  an entry    '/route4[id=tokyo]'   'net \"10.1.0.0/16\"; spi 1001; ..'
  a list      /route4               '{ id tokyo; .. } { id oslo; .. }'
  everything  /                     < paris.conf
or the same in JSON (RFC 7951): '{ \"vita-esp-gateway:mtu\": 1440 }'
Without VALUE it is read from standard input: do so if it holds a key, because
everybody on the machine can read the arguments of a process.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h", 3600), ("24h", 86_400), ("007m", 420)] {
            assert_eq!(time(text), Ok(seconds));
        }
        for text in [
            "",
            "m",
            "5",
            "0s",
            "25h",
            "5 m",
            "-5m",
            "+5m",
            "5d",
            "4294967296s",
            "71582789m",
            "5\u{b5}",
            "h5m",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
