//! This process, as Linux tells of it: under the names that Prometheus's own clients give.

use std::fmt;
use std::fs;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Appends the metrics of the process. Those that the system does not tell are left out.
pub fn encode(body: &mut String) -> fmt::Result {
    let mut registry = Registry::default();
    if let Some(Figures { memory, descriptors, most_descriptors, processor_time }) = Figures::read() {
        let memory_help = "Memory of the process that is in use";
        registry.register("process_resident_memory_bytes", memory_help, ConstGauge::new(memory));
        registry.register("process_open_fds", "Open file descriptors", ConstGauge::new(descriptors));
        registry.register("process_max_fds", "The most open file descriptors", ConstGauge::new(most_descriptors));
        let help = "Processor time of the process, in seconds";
        registry.register("process_cpu_seconds", help, ConstCounter::new(processor_time));
    }
    text::encode_registry(body, &registry)
}

struct Figures {
    memory: u64,
    descriptors: u64,
    most_descriptors: u64,
    processor_time: f64,
}

impl Figures {
    #[cfg(target_os = "linux")]
    fn read() -> Option<Self> {
        use rustix::param::{clock_ticks_per_second, page_size};
        use rustix::process::{Resource, getrlimit};

        let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
        // After the name of the program, which may have any character but ends with a bracket: the 14th and 15th field.
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let mut ticks = stat.rsplit(')').next()?.split_whitespace().skip(11).map(str::parse::<u32>);
        let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
        Some(Self {
            memory: pages * page_size() as u64,
            descriptors: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            most_descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            processor_time: (f64::from(user) + f64::from(system)) / clock_ticks_per_second() as f64,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn read() -> Option<Self> {
        None
    }
}
