import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Signs a file with the token's key of a label, many times over in four threads: Sign CONFIG LABEL INPUT SIGNATURE COUNT.
 */
public class Sign {
    public static void main(String[] arguments) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, "1234".toCharArray());
        PrivateKey key = (PrivateKey) store.getKey(arguments[1], null);
        byte[] input = Files.readAllBytes(Path.of(arguments[2]));
        ExecutorService threads = Executors.newFixedThreadPool(4);
        List<Future<byte[]>> signatures = new ArrayList<>();
        for (int i = 0; i < Integer.parseInt(arguments[4]); i++) {
            signatures.add(threads.submit(() -> {
                Signature signature = Signature.getInstance("SHA256withRSA", provider);
                signature.initSign(key);
                signature.update(input);
                return signature.sign();
            }));
        }
        for (Future<byte[]> signature : signatures) {
            Files.write(Path.of(arguments[3]), signature.get());
        }
        threads.shutdown();
    }
}
