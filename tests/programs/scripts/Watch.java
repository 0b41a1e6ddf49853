import java.nio.file.*;
import static java.nio.file.StandardWatchEventKinds.*;

/** Watches the folders that it is given. */
class Watch {
    public static void main(String[] folders) throws Exception {
        WatchService service = FileSystems.getDefault().newWatchService();
        for (String folder : folders) {
            Path.of(folder).register(service, ENTRY_CREATE, ENTRY_MODIFY, ENTRY_DELETE);
        }
        System.out.println("ready");
        while (true) {
            WatchKey key = service.take();
            for (WatchEvent<?> event : key.pollEvents()) {
                System.out.println(event.kind() + " " + key.watchable() + "/" + event.context());
            }
            if (!key.reset()) {
                System.out.println("no more " + key.watchable());
            }
        }
    }
}
