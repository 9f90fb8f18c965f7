/** Isolation of render subprocesses: no network, no secrets, and no process left after a job. */
import {type ChildProcess, spawn, spawnSync} from 'node:child_process';
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

const MAX_FILE_BYTES = 512 * 1024 * 1024;

/** Separate network (loopback only) and PID namespaces, whose processes die together. The first one this machine supports is used. */
const UNSHARE_COMMANDS = [
	['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
	['unshare', '--map-root-user', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
];
const ENABLE_LOOPBACK_SCRIPT = 'ip link set lo up && exec "$@"';

/** Return the command prefix that isolates a process; empty if this machine does not allow it. */
export const findIsolationCommand = (): string[] =>
	UNSHARE_COMMANDS.map((unshare) => [...unshare, 'sh', '-c', ENABLE_LOOPBACK_SCRIPT, 'isolated']).find(
		([command, ...args]) => spawnSync(command!, [...args, 'true'], {timeout: 5000}).status === 0,
	) ?? [];

// Standard input stays open while the service runs. When it closes, a watcher kills the process group. The browser is
// in a group of its own, so the watcher finds it by its profile folder, which is in the job folder.
const KILL_SCRIPT = 'for each in /proc/[0-9]*; do grep -qsaF -- "$HOME/tmp/" "$each/cmdline" && kill -KILL "${each#/proc/}"; done; kill -KILL 0';
const SUPERVISOR_SCRIPT = `ulimit -f ${MAX_FILE_BYTES / 512}; exec 4<&0; (cat <&4 >/dev/null; ${KILL_SCRIPT}) 3>&- 2>/dev/null & exec nice -n 5 "$@" 4<&- </dev/null`;

/** Start `command` in a process group of its own, with `folder` as its home. Descriptor 3 is a pipe to this process. */
export const startIsolated = (isolationCommand: string[], command: string[], folder: string): ChildProcess =>
	spawn('sh', ['-c', SUPERVISOR_SCRIPT, 'supervisor', ...isolationCommand, ...command], {
		cwd: folder,
		detached: true,
		stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
		env: {
			PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
			LANG: process.env.LANG ?? 'C.UTF-8',
			HOME: folder,
			TMPDIR: join(folder, 'tmp'),
			NODE_ENV: 'production',
		},
	});

/** Kill the process group, and every process that has `folder` as its home or in its arguments. */
export const killJobProcesses = (folder: string, group?: number): void => {
	if (group) {
		kill(-group);
	}
	// The browser is in a group of its own; without namespaces it is found by its folder.
	for (const pid of findJobProcesses(folder)) {
		kill(pid);
	}
};

const kill = (pid: number): void => {
	try {
		process.kill(pid, 'SIGKILL');
	} catch {
		// It has already exited.
	}
};

const findJobProcesses = (folder: string): number[] => {
	if (existsSync('/proc/self/environ')) {
		return readdirSync('/proc')
			.filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
			.filter((name) => readProcFile(`/proc/${name}/environ`).includes(`HOME=${folder}\0`) || readProcFile(`/proc/${name}/cmdline`).includes(`${folder}/`))
			.map(Number);
	}
	const output = spawnSync('ps', ['-axww', '-o', 'pid=,command='], {encoding: 'utf8'}).stdout ?? '';
	return output
		.split('\n')
		.filter((line) => line.includes(`${folder}/`))
		.map((line) => Number.parseInt(line, 10))
		.filter((pid) => pid > 1 && pid !== process.pid);
};

const readProcFile = (path: string): string => {
	try {
		return readFileSync(path, 'latin1');
	} catch {
		return '';
	}
};
