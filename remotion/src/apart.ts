/** How a render is kept apart: no network, no secrets, and nothing of it left over. */
import {type ChildProcess, spawn, spawnSync} from 'node:child_process';
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

export const MAX_FILE_BYTES = 512 * 1024 * 1024;

/** Own network (loopback only), own processes: they die together. The first that works on this machine is used. */
const WALLS = [
	['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
	['unshare', '--map-root-user', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
];
const INSIDE = 'ip link set lo up && exec "$@"';

/** The words before a command that keep it apart; empty where this machine does not allow it. */
export const findWall = (): string[] =>
	WALLS.map((wall) => [...wall, 'sh', '-c', INSIDE, 'apart']).find(
		([command, ...words]) => spawnSync(command!, [...words, 'true'], {timeout: 5000}).status === 0,
	) ?? [];

// The leash: standard input stays open as long as the service lives. When it closes, the group is killed, and
// the browser, which is in a group of its own, by the folder it keeps its profile in.
const ENDS = 'for each in /proc/[0-9]*; do grep -qsaF -- "$HOME/tmp/" "$each/cmdline" && kill -KILL "${each#/proc/}"; done; kill -KILL 0';
const LEASH = `ulimit -f ${MAX_FILE_BYTES / 512}; exec 4<&0; (cat <&4 >/dev/null; ${ENDS}) 3>&- 2>/dev/null & exec nice -n 5 "$@" 4<&- </dev/null`;

/** Start `command` in a group of its own, with the folder as its home. Descriptor 3 is a pipe to us. */
export const startApart = (wall: string[], command: string[], folder: string): ChildProcess =>
	spawn('sh', ['-c', LEASH, 'leash', ...wall, ...command], {
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

/** Kill the group, and whatever else still runs with `folder` as its home or among its arguments. */
export const endAll = (folder: string, group?: number): void => {
	if (group) {
		kill(-group);
	}
	// The browser is in a group of its own, so where there is no wall it is found by its folder.
	for (const pid of runningUnder(folder)) {
		kill(pid);
	}
};

const kill = (pid: number): void => {
	try {
		process.kill(pid, 'SIGKILL');
	} catch {
		// It has ended by itself.
	}
};

const runningUnder = (folder: string): number[] => {
	if (existsSync('/proc/self/environ')) {
		return readdirSync('/proc')
			.filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
			.filter((name) => read(`/proc/${name}/environ`).includes(`HOME=${folder}\0`) || read(`/proc/${name}/cmdline`).includes(`${folder}/`))
			.map(Number);
	}
	const listed = spawnSync('ps', ['-axww', '-o', 'pid=,command='], {encoding: 'utf8'}).stdout ?? '';
	return listed
		.split('\n')
		.filter((line) => line.includes(`${folder}/`))
		.map((line) => Number.parseInt(line, 10))
		.filter((pid) => pid > 1 && pid !== process.pid);
};

const read = (path: string): string => {
	try {
		return readFileSync(path, 'latin1');
	} catch {
		return '';
	}
};
