"""A data folder that is not the one of the store in shared memory: the start says so and touches neither, both ways on work, and nothing that is right looks wrong."""

import shutil
import unittest

from harness import FreshInstanceCase, Instance, needs_millrace, wait_for
from leftovers import end_processes_of, remove_shared_memory
from wire import decode

SETTINGS = {"appendonly": "yes", "appendfsync": "always", "save": ""}


def kill_all(instance):
    """Everything dies at once, and shared memory stays."""
    end_processes_of(instance.folder)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@needs_millrace
class DataOwner(FreshInstanceCase):
    def group(self):
        return self.start(io=1, **SETTINGS)

    def write(self, instance, first, last):
        with instance.wire(timeout=30) as wire:
            for number in range(first, last):
                self.assertEqual(wire.command("SET", "key:%d" % number, str(number)), b"+OK\r\n")

    def check(self, instance, count):
        with instance.wire(timeout=30) as wire:
            self.assertEqual([number for number in range(count) if wire.command("EXISTS", "key:%d" % number) != b":1\r\n"], [])
            self.assertEqual(decode(wire.command("DBSIZE")), count)

    def folder_of_another(self, count, *, of=None):
        """The data folder of a group that has stopped with so many keys; `of`: it began with this data folder, and is the same instance."""
        other = Instance(io=1, start=False, **SETTINGS)
        self.addCleanup(other.destroy)
        if of is not None:
            self.assertEqual(other.control("restore", of).returncode, 0)
        other.start()
        self.write(other, 0, count)
        self.assertEqual(other.control("stop").returncode, 0)
        return other.folder / "data"

    def put(self, instance, source, names="[ls]*-*"):
        """Puts another folder's files in the place of the instance's; gives where those are."""
        aside = instance.folder / "aside"
        shutil.copytree(instance.folder / "data", aside)
        for path in (instance.folder / "data").glob(names):
            path.unlink()
        for path in source.glob(names):
            shutil.copy2(path, instance.folder / "data")
        return aside

    def put_back(self, instance, aside):
        shutil.rmtree(instance.folder / "data")
        shutil.move(aside, instance.folder / "data")

    def refused(self, instance, *words):
        """The start, and a stop without force, end with that sentence and change nothing."""
        before, memory = contents(instance.folder / "data"), instance.shm_folder()
        for verb in ("stop", "start", "start", "stop"):
            ended = instance.control(verb, *(instance.start_arguments() if verb == "start" else ()))
            self.assertEqual((ended.returncode, ended.stdout, len(ended.stderr.splitlines())), (1, "", 1), ended)
            self.assertIn("stop --force", ended.stderr)
            if verb == "start":
                for word in words:
                    self.assertIn(word, ended.stderr)
        self.assertEqual(contents(instance.folder / "data"), before)
        self.assertTrue((memory / "store").exists())

    def both_ways(self, put, *words, of_folder):
        """`put` changes the data folder of a group that was killed with 20 keys; there are `of_folder` keys in the other one."""
        for gives_up in (False, True):
            with self.subTest(gives_up=gives_up):
                instance = self.group()
                self.write(instance, 0, 20)
                kill_all(instance)
                aside = put(instance)
                self.refused(instance, *words)
                if gives_up:
                    memory = instance.shm_folder()
                    ended = instance.control("stop", "--force")
                    self.assertEqual(ended.returncode, 0, ended)
                    self.assertFalse(memory.exists())
                else:
                    self.put_back(instance, aside)
                instance.start()
                self.check(instance, of_folder if gives_up else 20)

    def test_a_folder_that_is_ahead(self):
        def put(instance):
            return self.put(instance, self.folder_of_another(200, of=instance.folder / "data"))
        self.both_ways(put, "goes up to record", "the folder has been changed meanwhile", of_folder=200)

    def test_files_of_another_instance(self):
        other = self.folder_of_another(50)
        self.both_ways(lambda instance: self.put(instance, other), "is of another instance", of_folder=50)

    def test_another_data_folder(self):
        other = self.folder_of_another(50)
        self.both_ways(lambda instance: self.put(instance, other, "*"), "holds the data of instance", "data is that of", of_folder=50)

    def test_no_data_folder(self):
        def put(instance):
            aside = instance.folder / "aside"
            shutil.move(instance.folder / "data", aside)
            (instance.folder / "data").mkdir()
            return aside
        self.both_ways(put, "holds the data of instance", "has no instance id", of_folder=0)

    def test_a_folder_that_is_behind_is_superseded(self):
        instance = self.group()
        self.write(instance, 0, 20)
        self.assertEqual(instance.control("backup", instance.folder / "backup").returncode, 0)
        self.write(instance, 20, 40)
        kill_all(instance)
        self.put(instance, instance.folder / "backup")
        instance.start()
        self.write(instance, 40, 50)
        self.check(instance, 50)
        self.loses_memory(instance)
        self.check(instance, 50)

    def loses_memory(self, instance):
        memory = instance.shm_folder()
        wait_for(lambda: list((instance.folder / "data").glob("snapshot-" + "[0-9]" * 20)), 10, "a snapshot")
        kill_all(instance)
        remove_shared_memory(memory)
        instance.start()

    def test_what_was_loaded_from_another_instance_s_files_is_no_stranger(self):
        for records_at_end in (False, True):
            with self.subTest(records_at_end=records_at_end):
                other = Instance(io=1, start=False, **SETTINGS)
                self.addCleanup(other.destroy)
                other.start()
                self.write(other, 0, 30)
                with other.wire(timeout=30) as wire:
                    self.assertEqual(wire.command("SAVE"), b"+OK\r\n")      # begins another file
                if records_at_end:
                    self.write(other, 29, 30)
                self.assertEqual(other.control("stop").returncode, 0)
                instance = Instance(io=1, start=False, **SETTINGS)
                self.addCleanup(instance.stop)
                (instance.folder / "data").mkdir(parents=True, exist_ok=True)
                for path in (other.folder / "data").glob("[ls]*-*"):
                    shutil.copy2(path, instance.folder / "data")
                for count in (30, 40, 50):
                    instance.start()
                    self.check(instance, count)
                    self.write(instance, count, count + 10)
                    kill_all(instance)
                remove_shared_memory(instance.shm_folder())
                instance.start()
                self.check(instance, 60)


if __name__ == "__main__":
    unittest.main()
