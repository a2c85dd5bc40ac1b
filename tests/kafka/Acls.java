import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Grants and takes rights, a line each: {@code grant|take PRINCIPAL OPERATION TOPIC|GROUP|TRANSACTIONAL_ID LITERAL|PREFIXED NAME}.
 * Each line is answered when the broker has done it.
 */
public final class Acls {
    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]));
                BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] words = line.split(" ");
                AclBinding right = new AclBinding(
                        new ResourcePattern(ResourceType.valueOf(words[3]), words[5], PatternType.valueOf(words[4])),
                        new AccessControlEntry("User:" + words[1], "*", AclOperation.valueOf(words[2]), AclPermissionType.ALLOW));
                boolean grants = words[0].equals("grant");
                if (grants) {
                    admin.createAcls(List.of(right)).all().get();
                } else if (admin.deleteAcls(List.of(right.toFilter())).all().get().isEmpty()) {
                    throw new IllegalArgumentException("there is no such right: " + right);
                }
                // The controller has it now; the broker, which decides by its own copy, a little later.
                while (admin.describeAcls(right.toFilter()).values().get().isEmpty() == grants) {
                    Thread.sleep(1);
                }
                System.out.println("done");
            }
        }
    }
}
